"""Tables for reports: aligned text in a terminal, HTML in a notebook."""

from collections.abc import Callable, Iterable, Sequence
from itertools import chain, zip_longest

GAP = "  "  # between columns
NARROWEST = 8  # cells to which a column is squeezed, and no further


class Table:
    """Rows under headers, shown as text by ``str`` and as HTML by notebooks.

    Args:
        rows: sequences as long as ``headers``; cells are shown with ``str``.
        headers: the columns' names.
    """

    def __init__(self, rows: Iterable[Sequence[object]], headers: Sequence[str]) -> None:
        self.headers = list(headers)
        self.rows = [[str(cell) for cell in row] for row in rows]

    def text(self, width: int | None = None) -> str:
        """Return the table as aligned lines.

        What a terminal would obey is spelled out, see `printable`. Letters of wide scripts count
        as the two places they take.

        Args:
            width: places in a line; the widest columns are squeezed to it, and their cells go on
                in the next line. None to let lines be as long as they are.
        """
        lines = [self.headers, *self.rows]
        everything = "".join(chain.from_iterable(lines))
        if not everything.isprintable():
            lines = [[printable(cell) for cell in line] for line in lines]
        length = len if everything.isascii() else _cell_len()
        widths = [max(map(length, column)) for column in zip(*lines, strict=True)]
        if width is not None and sum(widths) + len(GAP) * (len(widths) - 1) > width:
            widths = _squeezed(widths, width)
            lines = [part for line in lines for part in _wrapped(line, widths, length)]
        if length is len:
            row = GAP.join(f"{{:<{width}}}" for width in widths).format
            return "\n".join([row(*line).rstrip() for line in lines])
        return "\n".join(_aligned(line, widths, length) for line in lines)

    def __str__(self) -> str:
        return self.text()

    __repr__ = __str__

    def _repr_html_(self) -> str:
        """Put numbers to the right and text to the left: notebooks would put all to the right."""
        columns = list(zip(*self.rows, strict=True)) or [()] * len(self.headers)
        sides = ["right" if all(map(_is_number, column)) else "left" for column in columns]
        lines = [("th", self.headers), *(("td", row) for row in self.rows)]
        rows = "".join(f"<tr>{_cells(tag, cells, sides)}</tr>" for tag, cells in lines)
        return f"<table>{rows}</table>"


def printable(text: str) -> str:
    """Spell out control characters: names come from files, and terminals obey some."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


def _cell_len() -> Callable[[str], int]:
    from rich.cells import cell_len  # only where it is needed: most tables are ASCII

    return cell_len


def _aligned(line: list[str], widths: list[int], length: Callable[[str], int]) -> str:
    cells = (cell + " " * (width - length(cell)) for cell, width in zip(line, widths, strict=True))
    return GAP.join(cells).rstrip()


def _squeezed(widths: list[int], width: int) -> list[int]:
    """Take from the widest columns until all fit, or none can give more."""
    widths = list(widths)
    left = width - len(GAP) * (len(widths) - 1)
    while (excess := sum(widths) - left) > 0:
        widest = max(widths)
        next_widest = max([w for w in widths if w < widest], default=NARROWEST)
        target = max(NARROWEST, next_widest, widest - excess)
        if target >= widest:
            break
        widths[widths.index(widest)] = target
    return widths


def _wrapped(
    line: list[str], widths: list[int], length: Callable[[str], int]
) -> Iterable[list[str]]:
    columns = (_lines(cell, width, length) for cell, width in zip(line, widths, strict=True))
    return map(list, zip_longest(*columns, fillvalue=""))


def _lines(cell: str, width: int, length: Callable[[str], int]) -> list[str]:
    """Break a cell at blanks, and words where one alone is too long."""
    if length(cell) <= width:
        return [cell]
    indent = cell[: len(cell) - len(cell.lstrip())][: width // 2]
    lines, room = [], width - len(indent)
    line = ""
    for word in cell.split():
        if line and length(line) + 1 + length(word) <= room:
            line += f" {word}"
            continue
        lines += [line] if line else []
        *whole, line = _chopped(word, room, length)
        lines += whole
    return [indent + part for part in [*lines, line]]


def _chopped(word: str, width: int, length: Callable[[str], int]) -> list[str]:
    if length is len:
        return [word[i : i + width] for i in range(0, len(word), width)]
    from rich.cells import chop_cells

    return chop_cells(word, width)


def _cells(tag: str, cells: list[str], sides: list[str]) -> str:
    import html  # 15 ms, for notebooks alone

    return "".join(
        f'<{tag} style="text-align:{side}">{html.escape(cell)}</{tag}>'
        for cell, side in zip(cells, sides, strict=True)
    )


def _is_number(cell: str) -> bool:
    import re

    return bool(re.fullmatch(r"[-+]?[\d,]*\.?\d+(e[-+]?\d+)?( ?%)?|", cell))

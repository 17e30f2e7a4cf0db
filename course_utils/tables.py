"""Tables for reports: aligned text in a terminal, HTML in a notebook."""

import html
from collections.abc import Iterable, Sequence


class Table:
    """Rows under headers, shown as text by ``str`` and as HTML by notebooks.

    Args:
        rows: sequences as long as ``headers``; cells are shown with ``str``.
        headers: the columns' names.
    """

    def __init__(self, rows: Iterable[Sequence[object]], headers: Sequence[str]) -> None:
        self.headers = list(headers)
        self.rows = [[str(cell) for cell in row] for row in rows]

    def __str__(self) -> str:
        lines = [self.headers, *self.rows]
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        aligned = (
            "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True))
            for line in lines
        )
        return "\n".join(line.rstrip() for line in aligned)

    __repr__ = __str__

    def _repr_html_(self) -> str:
        head = _cells("th", self.headers)
        body = "".join(f"<tr>{_cells('td', row)}</tr>" for row in self.rows)
        return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _cells(tag: str, cells: list[str]) -> str:
    return "".join(f"<{tag}>{html.escape(cell)}</{tag}>" for cell in cells)

"""``progress()``: which exercises are solved, read from the notebooks as they were saved."""

import re
from dataclasses import dataclass
from pathlib import Path

import nbformat

from course_utils.tables import Table

_CHECK = re.compile(r'^check\("(\d\d\.\d+)"', re.M)


@dataclass(frozen=True)
class Sheet:
    """The exercises of one lesson: all that its notebook has, and those that are solved."""

    path: Path
    exercises: tuple[str, ...]
    solved: frozenset[str]


class Progress:
    """What is solved, and the next step; shown as a table.

    Args:
        folder: the course's notebooks, with the exercises in ``exercises``.
    """

    def __init__(self, folder: Path) -> None:
        self.sheets = [_read(path) for path in sorted((folder / "exercises").glob("*.ipynb"))]
        self.sheets = [sheet for sheet in self.sheets if sheet.exercises]

    @property
    def next_step(self) -> str:
        """The first exercise that is not solved, and where it stands."""
        for sheet in self.sheets:
            for exercise in sheet.exercises:
                if exercise not in sheet.solved:
                    return f"next: {exercise}, in exercises/{sheet.path.name}"
        return "all solved" if self.sheets else "no exercises here"

    def _table(self) -> Table:
        rows = [
            (sheet.path.stem, f"{len(sheet.solved)} of {len(sheet.exercises)}")
            for sheet in self.sheets
        ]
        return Table(rows, ["exercises", "solved"])

    def __repr__(self) -> str:
        return f"{self._table()}\n{self.next_step}"

    def _repr_html_(self) -> str:
        return f"{self._table()._repr_html_()}<p>{self.next_step}</p>"


def progress(folder: Path = Path()) -> Progress:
    """Say which exercises are solved: whose ``check`` said "correct" when they were last saved.

    Args:
        folder: the course's notebooks.
    """
    return Progress(folder)


def _read(path: Path) -> Sheet:
    exercises, solved = [], set()
    for cell in nbformat.read(path, as_version=4).cells:
        found = _CHECK.search(cell.source) if cell.cell_type == "code" else None
        if found:
            exercises.append(found[1])
            shown = (str(output.get("data", {}).get("text/plain", "")) for output in cell.outputs)
            if any(text.startswith(f"{found[1]}: correct") for text in shown):
                solved.add(found[1])
    return Sheet(path, tuple(exercises), frozenset(solved))

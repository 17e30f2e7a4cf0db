"""The table of grades: in the terminal, and as ``grades.csv`` for the whole course."""

import csv
import io
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from course_utils.files.durable import write_atomically

COLUMNS = ("student", "assignment", "score", "max_score", "late_penalty", "state", "points", "note")


@dataclass(frozen=True)
class Row:
    """One line of ``grades.csv``: a student's points in an assignment."""

    student: str
    assignment: str
    score: float
    max_score: float
    late_penalty: float
    state: str
    points: str
    note: str


def write_csv(path: Path, rows: Iterable[Row]) -> None:
    """Write ``grades.csv``, whole or not at all.

    A text that a spreadsheet would run as a formula is defused.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\r\n")
    writer.writerow(COLUMNS)
    for row in rows:
        writer.writerow([_defused(getattr(row, column)) for column in COLUMNS])
    data = text.getvalue().encode("utf-8", "replace")
    write_atomically(path, lambda file: file.write(data))


def show(rows: list[Row], problems: dict[str, str]) -> None:
    """Print the table of grades, and what went wrong."""
    table = Table(title="Grades")
    for column in ("student", "assignment", "score", "state", "note"):
        table.add_column(column, justify="right" if column == "score" else "left")
    for row in rows:
        score = f"{row.score:g} / {row.max_score:g}"
        texts = (row.student, row.assignment, score, row.state, row.note)
        table.add_row(*map(Text, texts))  # as texts: names may look like markup
    console = Console()
    console.print(table)
    for what, why in problems.items():
        console.print(Text("not graded: ", "red"), Text(f"{what}: {why}"), sep="")


def _defused(value: object) -> object:
    if isinstance(value, str) and value[:1] in ("=", "+", "-", "@", "\t", "\r"):
        return f"'{value}"
    return value

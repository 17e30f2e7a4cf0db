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
from course_utils.grading.classroom.course import Course
from course_utils.grading.classroom.gradebook import Graded, Key, maximum, read_gradebook
from course_utils.grading.classroom.grader import grade_id
from course_utils.grading.classroom.intake import Intake

COLUMNS = ("student", "assignment", "score", "max_score", "late_penalty", "state", "points", "note")
NOTHING = "nothing was handed in"


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


def collect(course: Course, intake: Intake, failures: dict[Key, str]) -> list[Row]:
    """Return the rows of all students and lessons of the course.

    Who handed in nothing that can be graded gets a row too, with the reason.
    """
    notes = {(s.student, s.slug): " ".join(s.notes) for s in intake.taken}
    graded, most = read_gradebook(course), maximum(course)
    students = {student for student, _ in graded} | set(intake.reasons) | set(course.roster())
    rows = []
    for student in sorted(students):
        for slug in course.lessons():
            key = (student, slug)
            why = " ".join(intake.reasons.get(student, []))
            if key in failures:
                note = f"not graded: {failures[key]}"
            else:
                note = notes.get(key, "") if key in graded else why or NOTHING
            rows.append(_row(key, most.get(slug, 0.0), graded.get(key), note))
    return rows


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


def label(name: str) -> str:
    """Return an exercise's id for the name of its graded cell; other cells keep their name."""
    prefix = grade_id("")
    return name.removeprefix(prefix).replace("_", ".") if name.startswith(prefix) else name


def _row(key: Key, most: float, graded: Graded | None, note: str) -> Row:
    student, slug = key
    if graded is None:
        return Row(student, slug, 0.0, most, 0.0, "missing", "", note)
    points = " ".join(f"{label(p.name)}={p.score:g}/{p.max_score:g}" for p in graded.points)
    state = "needs manual grade" if graded.needs_manual_grade else "graded"
    return Row(student, slug, graded.score, most, graded.penalty, state, points, note)


def _defused(value: object) -> object:
    if isinstance(value, str) and value[:1] in ("=", "+", "-", "@", "\t", "\r"):
        return f"'{value}"
    return value

"""Learning platforms: rosters from Canvas and Moodle, and grades back to them.

The exporters are nbgrader's plug-ins as well:
``nbgrader export --exporter=course_utils.grading.classroom.lms.CanvasExport``.
"""

import csv
import io
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from nbgrader.api import Gradebook
from nbgrader.plugins import ExportPlugin

from course_utils.files.durable import write_atomically
from course_utils.grading.classroom.course import Course, NbgraderError, open_gradebook
from course_utils.grading.classroom.intake import safe_name
from course_utils.grading.classroom.names import Details, hidden, read_names

# What a column may be called, in lower case, in the exports of Canvas, Moodle and nbgrader.
COLUMNS = {
    "id": ("sis login id", "login id", "username", "student_id", "id number", "sis user id"),
    "lms": ("lms_user_id", "id", "id number"),
    "first": ("first_name", "first name"),
    "last": ("last_name", "surname", "last name"),
    "name": ("student", "full name", "name"),
    "email": ("email", "email address"),
}


def import_roster(course: Course, path: Path, *, anonymous: bool = False) -> list[str]:
    """Put the students of a CSV file into the gradebook; return their ids.

    Canvas's and Moodle's exports are taken as they are. Of other files, the columns may be called
    ``student_id``, ``first_name``, ``last_name``, ``email``, ``lms_user_id``.

    Args:
        course: whose gradebook it is.
        path: the file.
        anonymous: put pseudonyms into the gradebook; see `names`.

    Raises:
        NbgraderError: the file names no students, and the message says what is missing; or some
            that are to be anonymous are in the gradebook already.
    """
    text = path.read_text(encoding="utf-8-sig")
    rows = [_known(row) for row in csv.DictReader(io.StringIO(text))]
    students = [found for row in rows if (found := _student(row))]
    if not students:
        wanted = ", ".join(COLUMNS["id"] + COLUMNS["email"])
        raise NbgraderError(f"{path}: no student in it; one of these columns is needed: {wanted}")
    with open_gradebook(course) as gradebook:
        if anonymous:
            named = {student for student, _ in students} & {s.id for s in gradebook.students}
            if named:
                raise NbgraderError(
                    f"{min(named)} is in the gradebook by name: anonymous grading needs a new "
                    "course folder, with the roster before the first submissions"
                )
            students = hidden(course.root, students)
        for student, details in students:
            gradebook.update_or_create_student(student, **details)
    return [student for student, _ in students]


class CanvasExport(ExportPlugin):
    """Writes ``canvas.csv``: what Canvas's gradebook takes under *Import*."""

    def export(self, gradebook: Gradebook) -> None:
        """Write a column for each assignment; Canvas finds it by its name."""
        assignments = _wanted(gradebook.assignments, self.assignment, "name")
        names = [assignment.name for assignment in assignments]
        lines: list[list[Any]] = [
            ["Student", "ID", "SIS User ID", "SIS Login ID", "Section", *names]
        ]
        lines.append(["    Points Possible", "", "", "", "", *[a.max_score for a in assignments]])
        target = Path(self.to or "canvas.csv")
        for student in _wanted(gradebook.students, self.student, "id"):
            who, scores = _known_as(student, target), _scores(student, names)
            name = ", ".join(filter(None, [who["last_name"], who["first_name"]])) or who["student"]
            lines.append([name, who["lms_user_id"], "", who["student"], "", *scores])
        _write(target, lines)


class MoodleExport(ExportPlugin):
    """Writes ``moodle.csv``: what Moodle's gradebook takes under *Import, CSV file*."""

    def export(self, gradebook: Gradebook) -> None:
        """Write a column for each assignment, students by all that Moodle can know them by.

        An id is a username unless it is one of the others, which have columns of their own.
        """
        assignments = _wanted(gradebook.assignments, self.assignment, "name")
        names = [assignment.name for assignment in assignments]
        lines: list[list[Any]] = [["Username", "ID number", "Email address", *names]]
        target = Path(self.to or "moodle.csv")
        for student in _wanted(gradebook.students, self.student, "id"):
            who = _known_as(student, target)
            others = [who["lms_user_id"], who["email"]]
            username = "" if who["student"] in others else who["student"]
            lines.append([username, *others, *_scores(student, names)])
        _write(target, lines)


EXPORTS: dict[str, type[ExportPlugin]] = {"canvas": CanvasExport, "moodle": MoodleExport}


def export_grades(course: Course, platform: str) -> Path:
    """Write the grades for ``"canvas"`` or ``"moodle"`` into the course folder; return the file."""
    target = course.root / f"{platform}.csv"
    with open_gradebook(course) as gradebook:
        EXPORTS[platform](to=str(target)).export(gradebook)
    return target


def _known(row: dict[str, str]) -> dict[str, str]:
    """Return a row's values by the names above."""
    lower = {(key or "").strip().lower(): (value or "").strip() for key, value in row.items()
             if isinstance(value, str)}  # fmt: skip
    return {
        name: next((lower[key] for key in keys if lower.get(key)), "")
        for name, keys in COLUMNS.items()
    }


def _student(row: dict[str, str]) -> tuple[str, dict[str, str]] | None:
    """Return an id, and what nbgrader keeps beside it; None for a line that is no student's."""
    if "points possible" in row["name"].lower() or row["name"].lower() == "student, test":
        return None
    name = row["id"] or row["email"] or row["lms"]
    if not name:
        return None
    first, last = row["first"], row["last"]
    if not first and not last:  # Canvas: "Lovelace, Ada"
        last, _, first = (part.strip() for part in row["name"].partition(","))
    details = {"first_name": first, "last_name": last, "email": row["email"],
               "lms_user_id": row["lms"]}  # fmt: skip
    return safe_name(name), {key: value for key, value in details.items() if value}


def _known_as(student: Any, target: Path) -> Details:
    """Return who a student is to the platform; pseudonyms are explained beside what is written."""
    own = {"student": student.id, "first_name": student.first_name, "last_name": student.last_name,
           "email": student.email, "lms_user_id": student.lms_user_id}  # fmt: skip
    plain = {key: value or "" for key, value in own.items()}
    return read_names(target.resolve().parent).get(student.id, plain)


def _wanted(things: Iterable[Any], names: list[str], key: str) -> list[Any]:
    return [thing for thing in things if not names or getattr(thing, key) in names]


def _scores(student: Any, names: list[str]) -> list[float | str]:
    """Return the points in each assignment, late penalties taken off; "" where nothing came."""
    found = {s.assignment.name: max(0.0, s.score - (s.late_submission_penalty or 0.0))
             for s in student.submissions}  # fmt: skip
    return [found.get(name, "") for name in names]


def _write(path: Path, lines: list[list[Any]]) -> None:
    text = io.StringIO()
    csv.writer(text).writerows(lines)
    data = text.getvalue().encode("utf-8", "replace")
    write_atomically(path.resolve(), lambda file: file.write(data))

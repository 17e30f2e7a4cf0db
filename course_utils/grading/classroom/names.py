"""Anonymous grading: who is behind a pseudonym stands in one file, for the instructor alone."""

import csv
import io
import secrets
from pathlib import Path

from course_utils.files.durable import write_atomically

FILE = "names.csv"
COLUMNS = ("pseudonym", "student", "first_name", "last_name", "email", "lms_user_id")

Details = dict[str, str]


def hidden(root: Path, students: list[tuple[str, Details]]) -> list[tuple[str, Details]]:
    """Return a pseudonym for each student, without details; note them in ``names.csv``.

    Args:
        root: the course folder. Who has a pseudonym there keeps it.
        students: ids, with what else is known.
    """
    known = {details["student"]: pseudonym for pseudonym, details in read_names(root).items()}
    lines = [
        {**details, "student": student,
         "pseudonym": known.get(student) or f"student-{secrets.token_hex(4)}"}
        for student, details in students
    ]  # fmt: skip
    now = {line["student"] for line in lines}
    lines += [{**d, "pseudonym": p} for p, d in read_names(root).items() if d["student"] not in now]
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, restval="")
    writer.writeheader()
    writer.writerows(lines)
    data = text.getvalue().encode()
    (root / FILE).touch(mode=0o600)  # what is replaced keeps its permissions
    write_atomically(root / FILE, lambda file: file.write(data))
    return [(line["pseudonym"], {}) for line in lines]


def read_names(root: Path) -> dict[str, Details]:
    """Return by pseudonym who it is; empty where nobody has one."""
    path = root / FILE
    if not path.exists():
        return {}
    with path.open(newline="", encoding="utf-8") as file:
        return {line.pop("pseudonym"): line for line in csv.DictReader(file)}

"""Takes a folder of submissions into the course folder, cleaned, whatever the files are."""

import os
import re
import stat
import unicodedata
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import nbformat
from dateutil.parser import parse as parse_time
from nbformat import NotebookNode

from course_utils.files.durable import write_atomically
from course_utils.grading.classroom.course import Course
from course_utils.grading.classroom.submission import MAX_BYTES, clean, refuse

# nbgrader uses names in paths, patterns and regular expressions.
UNSAFE = re.compile(r"[\x00-\x1f\x7f*?\[\]+/\\:\"<>|{}]")
NAME_LENGTH = 100


@dataclass(frozen=True)
class Submitted:
    """One student's notebook for one lesson, as nbgrader will read it."""

    student: str
    slug: str
    notebook: NotebookNode


def take_in(course: Course, folder: Path) -> list[Submitted]:
    """Clean every submission in a folder and put it where nbgrader looks.

    Args:
        course: with released lessons.
        folder: holds ``<student>/<slug>.ipynb`` or nbgrader's ``<student>/<slug>/<slug>.ipynb``.

    Raises:
        FileNotFoundError: there is no such folder, or no submission in it.
    """
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder}: no such folder of submissions")
    found = []
    for student, entry in sorted(_students(folder).items()):
        for slug in course.lessons():
            path = _find(entry, slug)
            if path is not None:
                found.append(_take(course, student, slug, path))
    if not found:
        wanted = ", ".join(f"{slug}.ipynb" for slug in course.lessons())
        raise FileNotFoundError(f"{folder}: no <student>/<notebook> in it; notebooks are {wanted}")
    return found


def safe_name(name: str) -> str:
    """Return a student's name as one that can be a folder and an nbgrader id."""
    name = unicodedata.normalize("NFC", name.encode("utf-8", "replace").decode())
    return UNSAFE.sub("_", name).strip().lstrip(".")[:NAME_LENGTH].strip() or "_"


def _students(folder: Path) -> dict[str, Path]:
    """Return the students' folders by safe names; names that become equal are numbered."""
    students: dict[str, Path] = {}
    times: Counter[str] = Counter()
    for entry in sorted(folder.iterdir()):
        if entry.is_symlink() or not entry.is_dir() or entry.name.startswith("."):
            continue
        name = safe_name(entry.name)
        times[name] += 1
        students[name if times[name] == 1 else f"{name}-{times[name]}"] = entry
    return students


def _find(entry: Path, slug: str) -> Path | None:
    for path in (entry / slug / f"{slug}.ipynb", entry / f"{slug}.ipynb"):
        if os.path.lexists(path):
            return path
    return None


def _take(course: Course, student: str, slug: str, path: Path) -> Submitted:
    released = course.released(slug)
    try:
        notebook = clean(_read(path, MAX_BYTES + 1), released)
    except OSError as error:
        reason = "it is not an ordinary file." if not error.strerror else f"{error.strerror}."
        notebook = refuse(reason, released)
    target = course.submitted(student, slug)
    target.parent.mkdir(parents=True, exist_ok=True)
    text = nbformat.writes(notebook).encode()
    write_atomically(target, lambda file: file.write(text))  # also over a read-only file
    _take_timestamp(path.parent / "timestamp.txt", target.parent / "timestamp.txt")
    return Submitted(student, slug, notebook)


def _take_timestamp(source: Path, target: Path) -> None:
    """Copy nbgrader's note of when it was handed in, if it is one: a bad one would stop it."""
    try:
        text = _read(source, 100).decode().strip()
        parse_time(text)
    except (OSError, ValueError, OverflowError):
        return
    write_atomically(target, lambda file: file.write(text.encode()))


def _read(path: Path, limit: int) -> bytes:
    """Read an ordinary file: no link to another's work, no pipe that never ends."""
    if path.parent.is_symlink():
        raise OSError
    fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    try:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            raise OSError
        with os.fdopen(fd, "rb", closefd=False) as file:
            return file.read(limit)
    finally:
        os.close(fd)

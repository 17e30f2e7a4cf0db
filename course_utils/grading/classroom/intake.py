"""Takes a folder of submissions into the course folder, cleaned, whatever the files are."""

import hashlib
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC
from pathlib import Path

import nbformat
from dateutil.parser import parse as parse_time
from nbformat import NotebookNode

from course_utils.files.durable import write_atomically
from course_utils.grading.classroom.course import Course
from course_utils.grading.classroom.layouts import HandIn, Nothing, Person, hand_ins
from course_utils.grading.classroom.submission import clean, read_ordinary, refuse

# nbgrader uses names in paths, patterns and regular expressions.
UNSAFE = re.compile(r"[\x00-\x1f\x7f*?\[\]+/\\:\"<>|{}]")
NAME_BYTES = 100
EXERCISE = re.compile(rb"(?:check|answer)_(\d\d)_\d|check\(\s*\\?[\"'](\d\d)\.\d")


@dataclass(frozen=True)
class Submitted:
    """One student's notebook for one lesson, as nbgrader will read it.

    Attributes:
        notes: what was odd about it, for the instructor's table.
        arrived: when, as nbgrader writes it; "" where nobody trustworthy has noted it.
    """

    student: str
    slug: str
    notebook: NotebookNode
    notes: tuple[str, ...] = ()
    arrived: str = ""


@dataclass
class Intake:
    """What a folder of submissions holds.

    Attributes:
        taken: what can be graded.
        reasons: by student, why there is a notebook less than one might expect.
        nobodys: files that cannot be told to be somebody's, with the reason.
    """

    taken: list[Submitted] = field(default_factory=list)
    reasons: dict[str, list[str]] = field(default_factory=dict)
    nobodys: dict[str, str] = field(default_factory=dict)


def take_in(course: Course, folder: Path) -> Intake:
    """Clean every submission in a folder and put it where nbgrader looks.

    Of a student's attempts the newest counts. Nobody's mishap touches anybody else.

    Args:
        course: with released lessons.
        folder: of submissions, in any layout that `layouts` knows.

    Raises:
        FileNotFoundError: there is no such folder, or nobody in it.
    """
    found = list(hand_ins(folder, course.lessons()))
    if not found:
        raise FileNotFoundError(f"{folder}: nothing in it; wanted is <student>/<notebook>.ipynb")
    intake = Intake()
    students = identify({item.person for item in found if item.person}, course.roster())
    collected = folder.resolve() == (course.root / "submitted").resolve()
    attempts: dict[tuple[str, str], list[HandIn]] = {}
    seen: dict[object, str] = {}
    for item in found:
        if item.person is None:
            intake.nobodys[item.label] = item.reason if isinstance(item, Nothing) else ""
            continue
        student = students[item.person]
        intake.reasons.setdefault(student, [])
        if isinstance(item, Nothing):
            intake.reasons[student].append(f"{item.label}: {item.reason}")
        elif slug := _lesson(item, course.lessons()):
            attempts.setdefault((student, slug), []).append(item)
        else:
            intake.reasons[student].append(f"{item.label}: no exercise of this course is in it")
    for (student, slug), items in sorted(attempts.items()):
        items.sort(key=lambda item: item.attempt)
        intake.taken.append(_take(course, student, slug, items, collected, seen))
    return intake


def identify(people: Iterable[Person], roster: dict[str, set[str]]) -> dict[Person, str]:
    """Return nbgrader's name for each, and never one name for two.

    Args:
        people: as the folders say it.
        roster: students' ids, each with other names: full ones, numbers of a learning platform.
    """
    owners: dict[str, set[str]] = {}
    for student, others in roster.items():
        for name in {_folded(name) for name in others}:
            owners.setdefault(name, set()).add(student)
    known = {name: students.pop() for name, students in owners.items() if len(students) == 1}
    wanted = {
        person: known.get(_folded(person.number), known.get(_folded(person.name)))
        or safe_name(person.name)
        for person in people
    }
    # Those whose name is written exactly so come first; others who get the same are numbered.
    order = sorted(people, key=lambda p: (p.name != wanted[p], p.name, p.number))
    names: dict[Person, str] = {}
    for person in order:
        name, number = wanted[person], person.number or _short_digest(person.name)
        names[person] = name if name not in names.values() else f"{name}~{number}"
    return names


def safe_name(name: str) -> str:
    """Return a student's name as one that can be a folder and an nbgrader id."""
    name = unicodedata.normalize("NFC", name.encode("utf-8", "replace").decode())
    name = "".join("_" if unicodedata.category(c) in ("Cf", "Cc", "Zl", "Zp") else c for c in name)
    name = UNSAFE.sub("_", name).strip().lstrip(".") or "_"
    if len(name.encode()) <= NAME_BYTES:
        return name
    cut = name.encode()[: NAME_BYTES - 7].decode(errors="ignore").strip()
    return f"{cut}~{_short_digest(name)}"


def _short_digest(name: str) -> str:
    return hashlib.sha256(name.encode("utf-8", "replace")).hexdigest()[:6]


def _folded(name: str) -> str:
    return " ".join(unicodedata.normalize("NFKC", name).casefold().split())


def _lesson(item: HandIn, slugs: list[str]) -> str:
    """Return the lesson whose exercises are in a notebook; else the one its name says."""
    try:
        data = item.read()
    except OSError:
        data = b""
    counts = Counter(a or b for a, b in EXERCISE.findall(data))
    by_number = {slug[:2].encode(): slug for slug in slugs}
    for number, _ in counts.most_common():
        if number in by_number:
            return by_number[number]
    name = item.name.lower()
    return next((slug for slug in slugs if slug.lower() in name), "")


def _take(
    course: Course,
    student: str,
    slug: str,
    items: list[HandIn],
    collected: bool,
    seen: dict[object, str],
) -> Submitted:
    newest = items[-1]
    notes = []
    if len(items) > 1:
        others = ", ".join(item.label for item in items[:-1])
        notes.append(f"Of {len(items)} attempts the newest counts: {newest.label}; not {others}.")
    elif newest.name != f"{slug}.ipynb":
        notes.append(f"The file was named {newest.name}.")
    owner = seen.setdefault(newest.identity or newest.label, student)
    if owner != student and newest.identity:
        notes.append(f"It is the very file of {owner}, under two names.")
    notebook, said = _cleaned(newest, course.released(slug))
    arrived = newest.arrived
    if collected:
        arrived = _timestamp(course.submitted(student, slug).parent / "timestamp.txt")
    target = course.submitted(student, slug)
    _write(target, nbformat.writes(notebook).encode())
    _write(target.parent / "timestamp.txt", _normal_time(arrived).encode())
    return Submitted(student, slug, notebook, (*notes, *said), _normal_time(arrived))


def _cleaned(item: HandIn, released: NotebookNode) -> tuple[NotebookNode, list[str]]:
    try:
        return clean(item.read(), released)
    except OSError as error:
        return refuse(f"{error.strerror or 'it cannot be read'}.", released)
    except Exception as error:  # one notebook's oddity is not to stop the class
        return refuse(f"it cannot be cleaned ({type(error).__name__}).", released)


def _timestamp(path: Path) -> str:
    """Read nbgrader's own note of when it was collected."""
    try:
        return read_ordinary(path, 100).decode().strip()
    except (OSError, ValueError):
        return ""


def _normal_time(text: str) -> str:
    """Return a time as nbgrader writes it; "" for none, and for one that would stop it."""
    try:
        time = parse_time(text)
        time = time.astimezone(UTC) if time.tzinfo else time.replace(tzinfo=UTC)
        return time.strftime("%Y-%m-%d %H:%M:%S.%f UTC") if time.year > 1970 else ""
    except (ValueError, OverflowError):
        return ""


def _write(path: Path, data: bytes) -> None:
    """Write what is new, also over a read-only file; remove what is to be nothing."""
    if not data:
        path.unlink(missing_ok=True)
        return
    if path.is_file() and not path.is_symlink() and path.read_bytes() == data:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, lambda file: file.write(data))

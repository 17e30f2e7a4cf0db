"""Finds what students handed in, in the folders that instructors have.

Taken as they come: ``<student>/…`` to any depth, nbgrader's ``submitted`` and its exchange, the
flat files of Canvas and Moodle, Moodle's folders, ``<student>.zip``, ``<student>_<lesson>.ipynb``,
and one zip archive of any of these; with notebooks, or with files of another kind. Nothing is
run, and no link is followed.
"""

import re
import stat
import unicodedata
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from course_utils.grading.classroom.submission import MAX_BYTES, read_ordinary

MAX_DEPTH, MAX_ENTRIES = 8, 2000  # of one student's folder
OF_MANY = (
    "it is a platform's archive of many students' work: unpack it into this folder, or grade it "
    "alone, as SUBMISSIONS=<the archive>"
)
NOBODYS = "it lies in no student's folder, and its name does not say whose it is"
LEFT_OUT = {"__MACOSX", "__pycache__"}  # besides hidden ones, such as .ipynb_checkpoints
CANVAS = re.compile(r"(?P<name>[^_]+)_(?:LATE_)?(?P<id>\d+)_(?P<number>\d+)_(?P<file>.+)", re.I)
MOODLE = re.compile(r"(?P<name>.+?)_(?P<id>\d+)_assignsubmission_[a-z]+(?:_(?P<file>.*))?")
EXCHANGE = re.compile(r"(?P<name>[^+]+)\+(?P<slug>[^+]+)\+(?P<time>\d{4}-[^+]+)(?:\+.*)?")


@dataclass(frozen=True)
class Person:
    """Whose work it is: a name as the folder or file says it, and a number that an LMS gave."""

    name: str
    number: str = ""


@dataclass(frozen=True)
class HandIn:
    """One file that somebody handed in.

    Attributes:
        person: who.
        label: where it was found, to be shown.
        attempt: orders the attempts of a student, the latest last.
        read: returns its bytes, at most one more than are allowed; raises OSError with a reason.
        arrived: when nbgrader's exchange received it; else "".
        identity: equal for two names of one file.
    """

    person: Person
    label: str
    attempt: tuple[str, int, float]
    read: Callable[[], bytes]
    arrived: str = ""
    identity: object = None

    @property
    def name(self) -> str:
        """The name of the file itself."""
        return PurePosixPath(self.label).name


@dataclass(frozen=True)
class Nothing:
    """What holds no notebook: whose it is, if it is somebody's, and why."""

    person: Person | None
    label: str
    reason: str


@dataclass(frozen=True)
class Wanted:
    """Which files are looked for: by the ending of their names, and what they are called."""

    ending: str
    noun: str

    def is_one(self, name: str) -> bool:
        """Whether a file's name is that of one, however it is written."""
        return name.lower().endswith(self.ending)


NOTEBOOK = Wanted(".ipynb", "notebook")


def hand_ins(
    folder: Path, slugs: list[str], wanted: Wanted = NOTEBOOK
) -> Iterator[HandIn | Nothing]:
    """Yield every notebook that students handed in, and for whoever has none the reason.

    Args:
        folder: of submissions; or a zip archive of one, as learning platforms give it.
        slugs: of the lessons, which a file's name may hold beside the student's.
        wanted: what is looked for in the place of notebooks.

    Raises:
        FileNotFoundError: it is neither.
    """
    if folder.is_file() and zipfile.is_zipfile(folder):
        yield from _in_archive_of_all(folder, slugs, wanted)
    elif folder.is_dir():
        for entry in sorted(folder.iterdir()):
            if not _hidden(entry.name):
                yield from _entry(entry, slugs, wanted)
    else:
        raise FileNotFoundError(f"{folder}: no such folder of submissions, nor a zip archive")


def _entry(entry: Path, slugs: list[str], wanted: Wanted) -> Iterator[HandIn | Nothing]:
    person, time = _person(entry.name, slugs, wanted, is_folder=not _is_file(entry))
    if person is not None and not person.number and _holds_many(entry):
        yield Nothing(None, entry.name, OF_MANY)
        return
    if person is None:
        if wanted.is_one(entry.name):
            yield Nothing(None, entry.name, NOBODYS)
        return
    found: list[HandIn | Nothing] = []
    try:
        found = list(_of_one(entry, person, time, wanted))
        reason = "" if found else _why_nothing(entry, wanted)
    except OSError as error:
        reason = f"it cannot be read ({error.strerror})"
    yield from found
    if reason:
        yield Nothing(person, entry.name, reason)


def _person(
    name: str, slugs: list[str], wanted: Wanted, *, is_folder: bool
) -> tuple[Person | None, str]:
    """Return whose a folder or file at the top is, and when the exchange received it."""
    if match := EXCHANGE.fullmatch(name):
        return Person(match["name"]), match["time"]
    if match := MOODLE.fullmatch(name) or (None if is_folder else CANVAS.fullmatch(name)):
        return Person(match["name"], match["id"]), ""
    if is_folder:
        return Person(name), ""
    if not wanted.is_one(name) and not _is_archive(name):
        return None, ""
    stem = re.sub(r" \(\d+\)$", "", PurePosixPath(name).stem)
    for slug in slugs:
        stem = re.sub(re.escape(slug), "", stem, flags=re.I)
    stem = stem.strip(" _-+.")
    return (Person(stem) if stem else None), ""


def _of_one(entry: Path, person: Person, time: str, wanted: Wanted) -> Iterator[HandIn | Nothing]:
    """Yield what lies in one student's folder, file or archive."""
    if entry.is_symlink():
        return
    if not entry.is_dir():
        yield from _file(entry, entry.name, person, time, wanted)
        return
    for path, label in _walk(entry, wanted):
        yield from _file(path, label, person, time, wanted)


def _file(
    path: Path, label: str, person: Person, time: str, wanted: Wanted
) -> Iterator[HandIn | Nothing]:
    status = path.lstat()
    if _is_archive(path.name) and stat.S_ISREG(status.st_mode):
        yield from _in_archive(path, label, person, status.st_mtime, wanted)
    elif wanted.is_one(path.name):
        attempt = (time, _attempt(path.name), status.st_mtime)
        identity = (status.st_dev, status.st_ino)
        yield HandIn(person, label, attempt, lambda: read_ordinary(path), time, identity)


def _walk(folder: Path, wanted: Wanted) -> list[tuple[Path, str]]:
    """Return the files below a folder, and whatever has a wanted name; follow no link."""
    found: list[tuple[Path, str]] = []
    todo = [(folder, "")]
    while todo and len(found) < MAX_ENTRIES:
        current, label = todo.pop()
        for entry in sorted(current.iterdir())[:MAX_ENTRIES]:
            if _hidden(entry.name):
                continue
            inner = f"{label}{entry.name}"
            ordinary_folder = entry.is_dir() and not entry.is_symlink()
            if ordinary_folder and not wanted.is_one(entry.name):
                if inner.count("/") < MAX_DEPTH:
                    todo.append((entry, f"{inner}/"))
            else:
                found.append((entry, inner))
    return found


def _why_nothing(entry: Path, wanted: Wanted) -> str:
    if entry.is_symlink():
        return "it is a link, and links are not followed"
    if not entry.is_dir():
        return f"it holds no {wanted.noun}"
    names = [label for _, label in _walk(entry, wanted)]
    if not names:
        return "the folder is empty"
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return f"no {wanted.noun} is in the folder, only {', '.join(names[:3])}{more}"


def _holds_many(entry: Path) -> bool:
    """Whether it is the archive that a platform makes of what a whole class handed in."""
    if not (_is_archive(entry.name) and _is_file(entry)):
        return False
    try:
        with zipfile.ZipFile(entry) as archive:
            names = {PurePosixPath(e.filename).parts[0] for e in archive.infolist() if e.filename}
    except (OSError, ValueError, zipfile.BadZipFile, NotImplementedError):
        return False
    return any(CANVAS.fullmatch(name) or MOODLE.fullmatch(name) for name in names)


def _in_archive(
    path: Path, label: str, person: Person, when: float, wanted: Wanted
) -> Iterator[HandIn | Nothing]:
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()[:MAX_ENTRIES]
    except (OSError, ValueError, zipfile.BadZipFile, NotImplementedError) as error:
        yield Nothing(person, label, f"the archive cannot be read ({error})")
        return
    for entry in entries:
        parts = PurePosixPath(entry.filename).parts
        if not entry.is_dir() and wanted.is_one(entry.filename) and not any(map(_hidden, parts)):
            attempt = ("", max(_attempt(path.name), _attempt(parts[-1])), when)
            yield HandIn(person, f"{label}/{entry.filename}", attempt, _reader(path, entry))


def _in_archive_of_all(path: Path, slugs: list[str], wanted: Wanted) -> Iterator[HandIn | Nothing]:
    """The top level of the archive is what the top level of a folder is."""
    with zipfile.ZipFile(path) as archive:
        entries = [e for e in archive.infolist() if not e.is_dir()]
    for entry in entries:
        parts = PurePosixPath(entry.filename).parts
        if not parts or any(map(_hidden, parts)):
            continue
        person, time = _person(parts[0], slugs, wanted, is_folder=len(parts) > 1)
        if not wanted.is_one(entry.filename):
            if person is not None and len(parts) > 1:
                yield Nothing(person, entry.filename, f"no {wanted.noun}, only {entry.filename}")
        elif person is None:
            yield Nothing(None, entry.filename, NOBODYS)
        else:
            attempt = (time, _attempt(parts[-1]), _moment(entry))
            yield HandIn(person, entry.filename, attempt, _reader(path, entry), time)


def _reader(path: Path, entry: zipfile.ZipInfo) -> Callable[[], bytes]:
    def read() -> bytes:
        try:
            with zipfile.ZipFile(path) as archive, archive.open(entry) as file:
                return file.read(MAX_BYTES + 1)
        except (RuntimeError, ValueError, zipfile.BadZipFile, EOFError) as error:
            raise OSError(0, f"the archive cannot be read ({error})") from None

    return read


def _moment(entry: zipfile.ZipInfo) -> float:
    year, month, day, hour, minute, second = entry.date_time
    return ((((year * 12 + month) * 31 + day) * 24 + hour) * 60 + minute) * 60.0 + second


def _attempt(name: str) -> int:
    """Return the number that browsers, ``name (2)``, and Canvas, ``name-2``, give a later one."""
    match = re.search(r"(?: \((\d{1,4})\)|-(\d{1,4}))$", PurePosixPath(name).stem)
    return int(match[1] or match[2]) if match else 0


def _is_file(entry: Path) -> bool:
    return stat.S_ISREG(entry.lstat().st_mode)


def _is_archive(name: str) -> bool:
    return name.lower().endswith(".zip")


def _hidden(name: str) -> bool:
    plain = unicodedata.normalize("NFC", name)
    return plain.startswith(".") or plain in LEFT_OUT or plain.endswith("-checkpoint.ipynb")

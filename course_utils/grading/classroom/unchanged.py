"""Whether anything has changed since a class was graded; if not, there is nothing to do.

All that decides grades and pages is looked at, by content, as `make` does by time: submissions,
course folder, limits, this package and nbgrader. That takes a fraction of the second in which
PyTorch is imported, so this module imports neither it nor nbgrader.
"""

import hashlib
import json
import os
import stat
import sys
from collections.abc import Iterator
from dataclasses import asdict
from importlib import metadata
from pathlib import Path

from course_utils.files.durable import write_atomically
from course_utils.grading.classroom.table import Row
from course_utils.grading.limits import Limits

PACKAGE = Path(__file__).parents[2]
BOOK = "gradebook.db"
PARTS = ("nbgrader_config.py", "secret_seed", "names.csv", "grades.csv", "release", "submitted",
         "autograded", "results", "feedback")  # fmt: skip
OTHERS = ("nbgrader", "nbconvert", "torch")


class Look:
    """One look at a class: at what comes in when it is made, at what came of it when it is kept.

    So what changes while the class is graded is a change.

    Args:
        course: the course folder.
        submissions: a folder or an archive.
        limits: of the sandboxes.
        only: students and lessons, where not all are to be graded.
    """

    def __init__(
        self, course: Path, submissions: Path, limits: Limits, only: tuple[str, ...]
    ) -> None:
        self.course = course.resolve()
        self.mark = self.course / "results" / "unchanged"
        versions = [_version(name) for name in OTHERS]
        told = [sys.version, *versions, asdict(limits), sorted(only), str(submissions.resolve())]
        self.seen = [json.dumps(told), digest_of(PACKAGE, ".py"), digest_of(submissions)]
        self.book = ""

    def at_gradebook(self) -> None:
        """Look at the gradebook, before pages and tables are made of what it holds."""
        self.book = digest_of(self.course / BOOK)

    def rows(self) -> list[Row] | None:
        """Return the rows of the run before; None if anything is not as it left it."""
        try:
            kept = json.loads(self.mark.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
        self.at_gradebook()
        if kept["seen"] != [*self.seen, self.book, self._left()]:
            return None
        return [Row(**row) for row in kept["rows"]]

    def keep(self, rows: list[Row], database: str) -> None:
        """Note that a run went well. A gradebook elsewhere cannot be looked at: then nothing is."""
        self.mark.unlink(missing_ok=True)
        if database != f"sqlite:///{self.course / BOOK}":
            return
        kept = {"seen": [*self.seen, self.book, self._left()], "rows": [asdict(r) for r in rows]}
        data = json.dumps(kept).encode()
        write_atomically(self.mark, lambda file: file.write(data))

    def _left(self) -> str:
        return "".join(digest_of(self.course / part) for part in PARTS)


def digest_of(path: Path, ending: str = "") -> str:
    """Name what lies at a path: names, kinds, times and contents; no link is followed."""
    digest = hashlib.sha256()
    for found in _below(path):
        if not found.endswith(ending):
            continue
        digest.update(json.dumps(os.path.relpath(found, path)).encode())
        try:
            _add(digest, found, with_time=not ending)
        except OSError as error:  # a student's file that nobody may read stops nothing
            digest.update(repr(error).encode())
    return digest.hexdigest()


def _add(digest: "hashlib._Hash", path: str, *, with_time: bool) -> None:
    status = os.lstat(path)
    ordinary = stat.S_ISREG(status.st_mode)
    time = status.st_mtime_ns if ordinary and with_time else 0  # attempts are ordered by it
    digest.update(json.dumps([status.st_mode, time]).encode())
    if ordinary:
        with open(path, "rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    elif stat.S_ISLNK(status.st_mode):
        digest.update(os.fsencode(os.readlink(path)))


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:  # what needs it will say so
        return ""


def _below(path: Path) -> Iterator[str]:
    """Yield a path, if it is there, and all below it, in order."""
    if os.path.lexists(path) and path.name != "unchanged":
        yield str(path)
    for folder, folders, files in os.walk(path):
        folders.sort()
        for name in sorted([*folders, *files]):
            if name != "unchanged":
                yield os.path.join(folder, name)

"""An instructor's course folder: nbgrader's own layout, its configuration, and a secret."""

import contextlib
import io
import logging
import os
import secrets
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from unittest import mock

import nbformat
import nbgrader.api
from nbformat import NotebookNode
from nbgrader.api import Gradebook, Student
from nbgrader.apps.api import NbGraderAPI
from traitlets.config import PyFileConfigLoader

from course_utils.grading.classroom.names import read_names

CONFIGURATION = '''"""nbgrader's configuration of this course; its manual lists all options."""

from pathlib import Path

c = get_config()  # noqa: F821
c.CourseDirectory.root = str(Path(__file__).resolve().parent)
c.CourseDirectory.course_id = "saving_and_loading"
c.SandboxedGrade.course = c.CourseDirectory.root
c.CsvExportPlugin.to = "nbgrader_grades.csv"  # grades.csv is the one of `make grade`
# c.CourseDirectory.db_url = "postgresql://…"    # instead of gradebook.db

# Starters are written as students get them, so no solution needs to be cut out.
c.GenerateAssignment.preprocessors = [
    "nbgrader.preprocessors.IncludeHeaderFooter",
    "nbgrader.preprocessors.LockCells",
    "nbgrader.preprocessors.ClearOutput",
    "nbgrader.preprocessors.CheckCellMetadata",
    "nbgrader.preprocessors.ComputeChecksums",
    "nbgrader.preprocessors.SaveCells",
    "nbgrader.preprocessors.CheckCellMetadata",
]
# No kernel: the sandbox runs the notebook, the judge outside decides.
c.Autograde.autograde_preprocessors = [
    "course_utils.grading.classroom.recording.SandboxedGrade",
    "nbgrader.preprocessors.IgnorePattern",
    "nbconvert.preprocessors.ClearMetadataPreprocessor",
    "nbgrader.preprocessors.LimitOutput",
    "nbgrader.preprocessors.SaveAutoGrades",
    "nbgrader.preprocessors.AssignLatePenalties",
    "nbgrader.preprocessors.CheckCellMetadata",
]
# What students write in Markdown must not run in the instructor's browser.
c.HTMLExporter.filters = {"markdown2html": "course_utils.grading.classroom.pages.safe_markdown"}
'''


class NbgraderError(RuntimeError):
    """A step of nbgrader failed; the message holds its log."""


@dataclass(frozen=True)
class Course:
    """A course folder.

    Attributes:
        root: where ``source``, ``release``, ``submitted``, ``autograded``, ``feedback``,
            the gradebook and the configuration lie.
    """

    root: Path

    @classmethod
    def open(cls, root: Path) -> "Course":
        """Return the course in a folder, made ready if it is new."""
        root = root.resolve()
        root.mkdir(parents=True, exist_ok=True)
        if not (root / "nbgrader_config.py").exists():
            (root / "nbgrader_config.py").write_text(CONFIGURATION, encoding="utf-8")
        if not (root / "secret_seed").exists():
            secret = os.open(root / "secret_seed", os.O_CREAT | os.O_WRONLY, 0o600)
            os.write(secret, str(secrets.randbits(48)).encode())
            os.close(secret)
        return cls(root)

    def nbgrader(self) -> NbGraderAPI:
        """Return nbgrader's own interface, configured by the course's file."""
        loader = PyFileConfigLoader("nbgrader_config.py", path=str(self.root))
        config = loader.load_config()
        config.Application.log_level = logging.WARNING
        with self.here():
            return NbGraderAPI(config=config)

    def released(self, slug: str) -> NotebookNode:
        """Return a notebook as students got it.

        Raises:
            NbgraderError: it has not been released.
        """
        path = self.root / "release" / slug / f"{slug}.ipynb"
        if not path.exists():
            raise NbgraderError(f"{slug} is not released in {self.root}: run `make release` first")
        return nbformat.read(path, as_version=4)

    def lessons(self) -> list[str]:
        """Return the slugs of the released lessons."""
        return sorted(path.parent.name for path in self.root.glob("release/*/*.ipynb"))

    def roster(self) -> dict[str, set[str]]:
        """Return the students in the gradebook, each with the other names files may have."""
        with open_gradebook(self) as gradebook:
            known = {student.id: _names(student) for student in gradebook.students}
        hidden = {p: _names(Student(id=d.pop("student"), **d)) for p, d in
                  read_names(self.root).items()}  # fmt: skip
        return known | hidden

    def submitted(self, student: str, slug: str) -> Path:
        """Return where a clean submission lies for nbgrader."""
        return self.root / "submitted" / student / slug / f"{slug}.ipynb"

    @contextlib.contextmanager
    def here(self) -> Iterator[None]:
        """Work in the course folder: nbgrader looks there. What it says goes to no terminal."""
        before, path = Path.cwd(), os.environ.get("PATH", "")
        os.chdir(self.root)
        # nbgrader calls `alembic`, which lies beside this Python.
        os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), path])
        try:
            with (
                contextlib.redirect_stderr(io.StringIO()),
                mock.patch.object(nbgrader.api, "create_engine", _engine),
            ):
                yield
        finally:
            os.chdir(before)
            os.environ["PATH"] = path


def open_gradebook(course: Course) -> Gradebook:
    """Return nbgrader's gradebook of a course, to be used in a ``with`` statement."""
    directory = course.nbgrader().coursedir
    with course.here():  # a new one is made by a program that is found there
        return Gradebook(directory.db_url, directory.course_id)


# nbgrader opens the gradebook nine times for a submission, each time with an engine that has every
# statement to compile anew.
_engine = cache(nbgrader.api.create_engine)


def _names(student: Student) -> set[str]:
    """Moodle's files are named "Ada Lovelace", those of Canvas "lovelaceada"; both have numbers."""
    first, last = student.first_name or "", student.last_name or ""
    names = {student.id, student.lms_user_id or "", f"{first} {last}", f"{last}{first}"}
    return {name.strip() for name in names if name.strip()}


def succeed(outcome: dict[str, object]) -> None:
    """Check what a step of nbgrader returned.

    Raises:
        NbgraderError: it failed.
    """
    if not outcome["success"]:
        raise NbgraderError(f"nbgrader failed:\n{outcome.get('error', '')}\n{outcome['log']}")

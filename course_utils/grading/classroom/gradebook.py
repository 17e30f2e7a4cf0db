"""What nbgrader's gradebook holds, read at once, and the one writer to it."""

import hashlib
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nbgrader import api as tables
from nbgrader.api import Gradebook

from course_utils.grading.classroom.course import (
    Course,
    NbgraderError,
    open_gradebook,
    succeed,
)
from course_utils.grading.classroom.intake import Submitted
from course_utils.grading.classroom.pages import FeedbackPage
from course_utils.grading.classroom.recording import Results

Key = tuple[str, str]  # student and lesson


@dataclass
class Points:
    """One graded cell of one student: nbgrader's numbers."""

    name: str
    score: float
    max_score: float
    auto_score: float | None
    manual_score: float | None
    needs_manual_grade: bool


@dataclass
class Graded:
    """What the gradebook says of one student's lesson."""

    penalty: float = 0.0
    time: str = ""
    points: list[Points] = field(default_factory=list)
    comments: list[str] = field(default_factory=list)

    @property
    def score(self) -> float:
        """The points, less what is taken off for being late."""
        return max(0.0, sum(points.score for points in self.points) - self.penalty)

    @property
    def needs_manual_grade(self) -> bool:
        """Whether a human has to look at it."""
        return any(points.needs_manual_grade for points in self.points)


def read_gradebook(course: Course) -> dict[Key, Graded]:
    """Return everything that is graded, by student and lesson."""
    with open_gradebook(course) as gradebook:
        found = {key: graded for key, _, graded in _notebooks(gradebook)}
        by_id = {notebook: found[key] for key, notebook, _ in _notebooks(gradebook)}
        maxima = {
            cell.id: cell.max_score
            for kind in (tables.GradeCell, tables.TaskCell)
            for cell in gradebook.db.query(kind)
        }
        grades = gradebook.db.query(tables.Grade, tables.Grade.score, tables.BaseCell.name)
        for grade, score, name in grades.join(tables.BaseCell).order_by(tables.BaseCell.name):
            by_id[grade.notebook_id].points.append(
                Points(name, score, maxima[grade.cell_id], grade.auto_score, grade.manual_score,
                       grade.needs_manual_grade)
            )  # fmt: skip
        comments = gradebook.db.query(tables.Comment, tables.BaseCell.name)
        for comment, name in comments.join(tables.BaseCell).order_by(tables.BaseCell.name):
            by_id[comment.notebook_id].comments.append(f"{name}: {comment.comment}")
    return found


def maximum(course: Course) -> dict[str, float]:
    """Return the most points of each lesson in the gradebook."""
    with open_gradebook(course) as gradebook:
        return {a.name: a.max_score for a in gradebook.assignments}


class Recorder:
    """Writes results to the gradebook, and the pages that tell students of them.

    Args:
        course: with released lessons.
        results: kept ones.
    """

    def __init__(self, course: Course, results: Results) -> None:
        self.course, self.results = course, results
        self.nbgrader = course.nbgrader()
        self.nbgrader.config.GenerateFeedback.exporter_class = FeedbackPage
        # What `submission.clean` made has nothing left that nbgrader's first pass could mend.
        self.nbgrader.config.Autograde.sanitize_preprocessors = []
        self.config = (course.root / "nbgrader_config.py").read_bytes()
        self.graded = read_gradebook(course)
        with open_gradebook(course) as gradebook:
            self.due = {a.name: str(a.duedate) for a in gradebook.assignments}
            self.extensions = {
                (s.student_id, s.assignment.name): str(s.extension)
                for s in gradebook.db.query(tables.SubmittedAssignment)
                if s.extension is not None
            }

    def record(self, submitted: Submitted, *, anew: bool) -> None:
        """Let nbgrader read the result and keep the points, if it does not have them.

        Raises:
            NbgraderError: it could not.
        """
        key = (submitted.student, submitted.slug)
        mark = self._mark("recorded", key)
        name = self._digest(submitted)
        if key in self.graded and not anew and mark.exists() and mark.read_text() == name:
            return
        self._set_time(submitted)
        with self.course.here():
            succeed(self.nbgrader.autograde(submitted.slug, submitted.student, force=True))
        self._keep_reviews(key)
        _write_mark(mark, name)
        _write_mark(self._mark("names", key), self.results.name(submitted.notebook))

    def write_feedback(self, keys: Iterable[Key]) -> dict[Key, str]:
        """Write the pages that are missing or out of date; return what was not possible, and why.

        Points and comments that an instructor gave by hand since are on them.
        """
        graded = read_gradebook(self.course)
        old = [key for key in keys if key in graded and self._is_old(key, graded[key])]
        for student, slug in old:
            shutil.rmtree(self.course.root / "feedback" / student / slug, ignore_errors=True)
        failed: dict[Key, str] = {}
        for slug in sorted({slug for _, slug in old}):
            students = [student for student, of in old if of == slug]
            failed |= {(s, slug): why for s, why in self._pages(slug, students).items()}
        for key in old:
            if key not in failed:
                _write_mark(self._mark("pages", key), self._page_digest(key, graded[key]))
        return failed

    def _pages(self, slug: str, students: list[str]) -> dict[str, str]:
        """Write the pages of some students: all at once, and who fails once more alone."""
        with self.course.here():
            self.nbgrader.generate_feedback(slug, force=False)
        failed = {}
        for student in students:
            if self._page(student, slug).exists():
                continue
            try:
                with self.course.here():
                    succeed(self.nbgrader.generate_feedback(slug, student, force=True))
            except NbgraderError as error:
                failed[student] = f"there is no feedback page: {error}"
        return failed

    def _page(self, student: str, slug: str) -> Path:
        return self.course.root / "feedback" / student / slug / f"{slug}.html"

    def _is_old(self, key: Key, graded: Graded) -> bool:
        mark = self._mark("pages", key)
        if not self._page(*key).exists() or not mark.exists():
            return True
        return mark.read_text() != self._page_digest(key, graded)

    def _page_digest(self, key: Key, graded: Graded) -> str:
        recorded = self._mark("recorded", key)
        return _digest(recorded.read_text() if recorded.exists() else "", graded)

    def _digest(self, submitted: Submitted) -> str:
        """Name all that decides what the gradebook should hold: the result, time and policy."""
        key = (submitted.student, submitted.slug)
        graded = self.graded.get(key, Graded())
        late = [p.manual_score for p in graded.points] if graded.penalty else []
        name = self.results.name(submitted.notebook)
        due = self.due.get(submitted.slug), self.extensions.get(key)
        return _digest(name, submitted.arrived, *due, self.config, late)

    def _set_time(self, submitted: Submitted) -> None:
        """Nbgrader keeps the time of an earlier attempt where the new one has none."""
        key = (submitted.student, submitted.slug)
        if submitted.arrived or not self.graded.get(key, Graded()).time:
            return
        with open_gradebook(self.course) as gradebook:
            gradebook.find_submission(submitted.slug, submitted.student).timestamp = None
            gradebook.db.commit()

    def _keep_reviews(self, key: Key) -> None:
        """Nbgrader asks for a review of all points given by hand, also where nothing changed."""
        before = {p.name: p for p in self.graded.get(key, Graded()).points}
        if not any(p.manual_score is not None for p in before.values()):
            return
        with open_gradebook(self.course) as gradebook:
            for grade in _grades(gradebook, key):
                old = before.get(grade.name)
                if old and old.manual_score is not None and old.auto_score == grade.auto_score:
                    grade.needs_manual_grade = old.needs_manual_grade
            gradebook.db.commit()

    def _mark(self, kind: str, key: Key) -> Path:
        return self.results.folder / kind / key[1] / key[0]


def _notebooks(gradebook: Gradebook) -> Iterator[tuple[Key, str, Graded]]:
    query = (
        gradebook.db.query(tables.SubmittedNotebook, tables.SubmittedAssignment, tables.Assignment)
        .join(
            tables.SubmittedAssignment,
            tables.SubmittedNotebook.assignment_id == tables.SubmittedAssignment.id,
        )
        .join(tables.Assignment, tables.SubmittedAssignment.assignment_id == tables.Assignment.id)
    )
    for notebook, submission, assignment in query:
        time = str(submission.timestamp or "")
        graded = Graded(notebook.late_submission_penalty or 0.0, time)
        yield (submission.student_id, assignment.name), notebook.id, graded


def _grades(gradebook: Gradebook, key: Key) -> list[Any]:
    submission = gradebook.find_submission(key[1], key[0])
    return [grade for notebook in submission.notebooks for grade in notebook.grades]


def _write_mark(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def _digest(*things: object) -> str:
    return hashlib.sha256(repr(things).encode("utf-8", "replace")).hexdigest()

"""Grades a class: sandboxes in parallel, one writer to the gradebook, feedback, ``grades.csv``."""

import csv
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from nbgrader.api import Gradebook, MissingEntry
from rich.console import Console
from rich.table import Table
from tqdm import tqdm

from course_utils.grading.classroom.course import Course, NbgraderError, succeed
from course_utils.grading.classroom.grader import digest, grade_id
from course_utils.grading.classroom.intake import Submitted, take_in
from course_utils.grading.classroom.pool import grade_all
from course_utils.grading.classroom.recording import Results
from course_utils.grading.classroom.submission import NOTE
from course_utils.grading.sandbox.runner import Limits

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


def grade_class(
    course: Course,
    submissions: Path,
    *,
    limits: Limits | None = None,
    workers: int | None = None,
    scheduler: str = "",
    again: bool = False,
) -> tuple[list[Row], dict[tuple[str, str], str]]:
    """Grade a folder of submissions; what is graded already is not graded again.

    Args:
        course: with released lessons.
        submissions: see `intake.take_in`.
        limits: of each sandbox.
        workers: processes; as many as there are cores by default.
        scheduler: address of a Dask scheduler to use instead.
        again: run everything again.

    Returns:
        The rows of ``grades.csv``, and by student and assignment what could not be graded.
    """
    taken = {(s.student, s.slug): s for s in take_in(course, submissions)}
    results = Results(course.root)
    known = set() if again else {k for k, s in taken.items() if results.find(s.notebook)}
    recorder = _Recorder(course)
    failures: dict[tuple[str, str], str] = {}
    with tqdm(total=len(taken), desc="Grading", unit="notebook") as bar:
        for key in sorted(known):
            _record(recorder, taken[key], again, failures)
            bar.update()
        todo = {key: s.notebook for key, s in taken.items() if key not in known}
        limits = limits or Limits()
        for key, outcome in grade_all(
            todo, results.seed, limits, workers=workers, scheduler=scheduler
        ):
            if isinstance(outcome, Exception):
                failures[key] = f"{type(outcome).__name__}: {outcome}"
            else:
                results.keep(taken[key].notebook, outcome)
                _record(recorder, taken[key], True, failures)
            bar.set_postfix_str(key[0][:20])
            bar.update()
    for slug in sorted({slug for _, slug in taken}):
        recorder.write_feedback(slug)
    rows = list(collect(course, taken.values()))
    write_csv(course.root / "grades.csv", rows)
    return rows, failures


def collect(course: Course, taken: Iterable[Submitted]) -> Iterable[Row]:
    """Read the grades of all students of the course from the gradebook.

    A student whom the gradebook knows and who handed in nothing gets a row too.
    """
    notes = {(s.student, s.slug): _note(s) for s in taken}
    slugs = sorted({slug for _, slug in notes})
    api = course.nbgrader()
    with Gradebook(api.coursedir.db_url, api.course_id) as gradebook:
        for student in sorted(student.id for student in gradebook.students):
            for slug in slugs:
                yield _row(gradebook, student, slug, notes.get((student, slug), ""))


def write_csv(path: Path, rows: Iterable[Row]) -> None:
    """Write ``grades.csv``; a text that a spreadsheet would run as a formula is defused."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        for row in rows:
            writer.writerow([_defused(getattr(row, column)) for column in COLUMNS])


def show(rows: list[Row], failures: dict[tuple[str, str], str]) -> None:
    """Print the table of grades, and what went wrong."""
    table = Table(title="Grades")
    for column in ("student", "assignment", "score", "state", "note"):
        table.add_column(column, justify="right" if column == "score" else "left")
    for row in rows:
        score = f"{row.score:g} / {row.max_score:g}"
        table.add_row(row.student, row.assignment, score, row.state, row.note)
    console = Console()
    console.print(table)
    for (student, slug), why in failures.items():
        console.print(f"[red]not graded:[/] {student}, {slug}: {why}")


class _Recorder:
    """The one writer to the gradebook."""

    def __init__(self, course: Course) -> None:
        self.course = course
        self.nbgrader = course.nbgrader()
        with Gradebook(self.nbgrader.coursedir.db_url, self.nbgrader.course_id) as gradebook:
            self.recorded = {
                (submission.student.id, slug): True
                for slug in course.lessons()
                for submission in gradebook.assignment_submissions(slug)
            }

    def record(self, submitted: Submitted, *, anew: bool) -> None:
        """Let nbgrader read the result and keep the points.

        Raises:
            NbgraderError: it could not.
        """
        student, slug = submitted.student, submitted.slug
        mark = self.course.root / "results" / "recorded" / slug / student
        seed = Results(self.course.root).seed
        name = digest(submitted.notebook, seed)
        done = (student, slug) in self.recorded and mark.exists() and mark.read_text() == name
        if done and not anew:
            return
        with self.course.here():
            succeed(self.nbgrader.autograde(slug, student, force=True))
        shutil.rmtree(self.course.root / "feedback" / student / slug, ignore_errors=True)
        mark.parent.mkdir(parents=True, exist_ok=True)
        mark.write_text(name)

    def write_feedback(self, slug: str) -> None:
        """Write the pages that are not there yet.

        Raises:
            NbgraderError: it could not.
        """
        if any(self.course.root.glob(f"autograded/*/{slug}/*.ipynb")):
            with self.course.here():
                succeed(self.nbgrader.generate_feedback(slug, force=False))


def _record(
    recorder: _Recorder, submitted: Submitted, anew: bool, failures: dict[tuple[str, str], str]
) -> None:
    try:
        recorder.record(submitted, anew=anew)
    except NbgraderError as error:
        failures[(submitted.student, submitted.slug)] = str(error)


def _row(gradebook: Gradebook, student: str, slug: str, note: str) -> Row:
    maximum = gradebook.find_assignment(slug).max_score
    try:
        submission = gradebook.find_submission(slug, student)
    except MissingEntry:
        return Row(student, slug, 0.0, maximum, 0.0, "missing", "", "nothing was handed in")
    grades = sorted((g for n in submission.notebooks for g in n.grades), key=lambda g: g.name)
    points = " ".join(f"{_label(g.name)}={g.score:g}/{g.max_score:g}" for g in grades)
    penalty = submission.late_submission_penalty or 0.0
    score = max(0.0, submission.score - penalty)
    state = "needs manual grade" if submission.needs_manual_grade else "graded"
    return Row(student, slug, score, maximum, penalty, state, points, note)


def _label(name: str) -> str:
    prefix = grade_id("")
    return name.removeprefix(prefix).replace("_", ".") if name.startswith(prefix) else name


def _note(submitted: Submitted) -> str:
    first = submitted.notebook.cells[0].source if submitted.notebook.cells else ""
    if not first.startswith(NOTE):
        return ""
    return " ".join(first.removeprefix(NOTE).split())


def _defused(value: object) -> object:
    if isinstance(value, str) and value[:1] in ("=", "+", "-", "@", "\t", "\r"):
        return f"'{value}"
    return value

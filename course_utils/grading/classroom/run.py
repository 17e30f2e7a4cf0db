"""Grades a class: sandboxes in parallel, one writer to the gradebook, feedback, ``grades.csv``."""

from pathlib import Path

from tqdm import tqdm

from course_utils.grading.classroom.course import Course
from course_utils.grading.classroom.gradebook import Key, Recorder
from course_utils.grading.classroom.intake import Intake, Submitted, take_in
from course_utils.grading.classroom.pool import grade_all
from course_utils.grading.classroom.recording import Results
from course_utils.grading.classroom.rows import collect
from course_utils.grading.classroom.table import Row, write_csv
from course_utils.grading.classroom.unchanged import Look
from course_utils.grading.limits import Limits


def grade_class(
    course: Course,
    submissions: Path,
    *,
    limits: Limits | None = None,
    workers: int | None = None,
    scheduler: str = "",
    again: bool = False,
    only: tuple[str, ...] = (),
) -> tuple[list[Row], dict[Key, str]]:
    """Grade a folder of submissions; what is graded already is not graded again.

    Args:
        course: with released lessons.
        submissions: see `intake.take_in`.
        limits: of each sandbox.
        workers: processes; as many as there are cores by default.
        scheduler: address of a Dask scheduler to use instead.
        again: run everything again.
        only: students' ids and lessons' numbers, where not all are to be graded.

    Returns:
        The rows of ``grades.csv``, and by student and assignment what could not be graded; a
        file that is nobody's stands there under ``("", its name)``.
    """
    limits = limits or Limits()
    look = Look(course.root, submissions, limits, only)
    intake = take_in(course, submissions)
    results = Results(course.root, limits)
    recorder = _Careful(Recorder(course, results))
    taken = {(s.student, s.slug): s for s in intake.taken if _is_wanted(s, only)}
    known = set() if again else {k for k, s in taken.items() if results.find(s.notebook)}
    with tqdm(total=len(taken), desc="Grading", unit="notebook") as bar:
        for key in sorted(known):
            recorder.record(taken[key], anew=again)
            bar.update()
        todo = {key: s.notebook for key, s in taken.items() if key not in known}
        for key, outcome in grade_all(
            todo, results.seed, results.limits, workers=workers, scheduler=scheduler
        ):
            if isinstance(outcome, Exception):
                recorder.failures[key] = f"{type(outcome).__name__}: {outcome}"
            else:
                results.keep(taken[key].notebook, outcome)
                recorder.record(taken[key], anew=True)
            bar.set_postfix_str(key[0][:20])
            bar.update()
    return _finish(course, intake, recorder, look)


def _finish(
    course: Course, intake: Intake, recorder: "_Careful", look: Look
) -> tuple[list[Row], dict[Key, str]]:
    failures = recorder.failures
    look.at_gradebook()
    written = [key for key in recorder.recorded if key not in failures]
    rows = collect(course, intake, failures)
    write_csv(course.root / "grades.csv", rows)  # before the pages: whatever becomes of them
    failures |= recorder.recorder.write_feedback(written)
    failures |= {("", name): reason for name, reason in intake.nobodys.items()}
    if not failures:
        look.keep(rows, course.nbgrader().coursedir.db_url)
    return rows, failures


def _is_wanted(submitted: Submitted, only: tuple[str, ...]) -> bool:
    """Whether its student, if any is named, and its lesson, if any is named, are among these."""
    lessons = {name for name in only if name.isdigit() and len(name) == 2}
    students = set(only) - lessons
    return (not students or submitted.student in students) and (
        not lessons or submitted.slug[:2] in lessons
    )


class _Careful:
    """Records, and notes what cannot be recorded: one student's anything ends only that student."""

    def __init__(self, recorder: Recorder) -> None:
        self.recorder = recorder
        self.failures: dict[Key, str] = {}
        self.recorded: list[Key] = []

    def record(self, submitted: Submitted, *, anew: bool) -> None:
        self.recorded.append((submitted.student, submitted.slug))
        try:
            self.recorder.record(submitted, anew=anew)
        except Exception as error:
            why = f"{type(error).__name__}: {error}"
            self.failures[(submitted.student, submitted.slug)] = why

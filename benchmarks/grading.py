"""Submissions graded per minute, with isolation on, against plain `nbgrader autograde`.

Both grade the same notebooks into a gradebook; ours writes the feedback pages as well. Plain
nbgrader runs each notebook in a kernel of its own, one after another, with no sandbox.
"""

import argparse
import copy
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import nbformat

from benchmarks.timing import folder
from course_utils.grading.classroom.course import Course, succeed
from course_utils.grading.classroom.release import release
from course_utils.grading.classroom.run import grade_class
from course_utils.grading.exercise import PUBLIC_SEED, load_exercise
from course_utils.grading.sandbox.runner import Cell, Sandbox
from course_utils.tables import Table

SLUG = "01_state_dict_anatomy"
ANSWER = "def keys(module):\n    return sorted(module.state_dict())  # {}"
PLAIN = "autograde_preprocessors"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--students", type=int, default=100, help="for ours")
    parser.add_argument("--plain", type=int, default=10, help="for plain nbgrader, each round")
    parser.add_argument("--rounds", type=int, default=1)
    options = parser.parse_args()
    ours, plain = [], []
    with folder() as relative:
        path = relative.resolve()
        for _ in range(options.rounds):
            ours.append(60 * options.students / _ours(path, options.students))
            plain.append(60 * options.plain / _plain(path, options.plain))
        warm, cold = _sandboxes()
    rates = [sorted(rates)[len(rates) // 2] for rates in (ours, plain)]
    rows = [
        (f"make grade, sandboxed, with feedback, {options.students} students", f"{rates[0]:.0f}"),
        ("nbgrader autograde, no sandbox, no feedback", f"{rates[1]:.0f}"),
    ]
    print(Table(rows, ["median of the rounds", "submissions per minute"]))
    print(f"ratio {rates[0] / rates[1]:.1f}; of each round:", *_ratios(ours, plain))
    print(f"one submission: {warm:.2f} s in a warm sandbox, {cold:.2f} s in a new one")


def _ours(path: Path, students: int) -> float:
    course, submissions = _class(path, students)
    return _seconds(lambda: grade_class(course, submissions))


def _plain(path: Path, students: int) -> float:
    course, submissions = _class(path, students)
    for student in submissions.iterdir():
        target = course.submitted(student.name, SLUG)
        target.parent.mkdir(parents=True)
        shutil.copy(student / f"{SLUG}.ipynb", target)
    nbgrader = course.nbgrader()
    del nbgrader.config.Autograde[PLAIN]
    with course.here():
        return _seconds(
            lambda: [
                succeed(nbgrader.autograde(SLUG, student.name)) for student in submissions.iterdir()
            ]
        )


def _class(path: Path, students: int) -> tuple[Course, Path]:
    """A new course folder, and submissions that all differ."""
    shutil.rmtree(path / "course", ignore_errors=True)
    shutil.rmtree(path / "submissions", ignore_errors=True)
    course = Course.open(path / "course")
    release(course, [SLUG])
    released = course.released(SLUG)
    for number in range(students):
        notebook = copy.deepcopy(released)
        answer = next(c for c in notebook.cells if c.metadata.get("nbgrader", {}).get("solution"))
        answer.source = ANSWER.format(number)
        target = path / "submissions" / f"student{number:03}" / f"{SLUG}.ipynb"
        target.parent.mkdir(parents=True)
        nbformat.write(notebook, target)
    return course, path / "submissions"


def _sandboxes() -> tuple[float, float]:
    """Seconds for one submission in a warm sandbox, and in one made for it."""
    exercise = load_exercise("01.1")
    cells = [Cell(ANSWER), Cell("", check="01.1")]

    def run(sandbox: Sandbox) -> None:
        sandbox.run(cells, {"01.1": exercise.task}, {"01.1": exercise.cases(PUBLIC_SEED)})

    def new() -> None:
        with Sandbox() as sandbox:
            run(sandbox)

    with Sandbox() as sandbox:
        run(sandbox)
        warm = sorted(_seconds(lambda: run(sandbox)) for _ in range(9))[4]
    return warm, sorted(_seconds(new) for _ in range(3))[1]


def _seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def _ratios(ours: list[float], plain: list[float]) -> list[str]:
    return [f"{a / b:.1f}" for a, b in zip(ours, plain, strict=True)]


if __name__ == "__main__":
    main()

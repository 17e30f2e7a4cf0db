"""A class of different submissions over all lessons, graded per minute with isolation on.

    python -m benchmarks.grading --students 100

Each student hands in one lesson: every answer in it is a right one, with a name in it that nobody
else has, so no two are alike. A tenth hand in a wrong answer, a tenth hostile code. The class is
graded into a new course folder, feedback pages included; then once more with nothing new. Answers
and hostile code are those of ``tests/``, so it runs in a checkout.
"""

import argparse
import copy
import os
import random
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nbformat
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell

from benchmarks.timing import folder
from course_utils.grading.classroom.course import Course
from course_utils.grading.classroom.release import release
from course_utils.grading.classroom.run import grade_class
from course_utils.grading.exercise import all_exercises
from course_utils.grading.sheets import lessons
from course_utils.tables import Table

ANSWERS = Path(__file__).parents[1] / "tests"
HOSTILE = (
    "import os; os._exit(0)",
    "import os, signal\nfor p in (os.getppid(), 1):\n    os.kill(p, signal.SIGKILL)",
    "import sys; sys.exit(0)",
    "import torch\ntorch.equal = torch.allclose = lambda *a, **k: True",
    "import gc\nfound = [x for x in gc.get_objects() if isinstance(x, dict) and 'expected' in x]",
    "def f(): return f()\nf()",
    "import os\nfor i in range(40):\n    if os.fork() == 0:\n        os._exit(0)",
    "open('/etc/passwd', 'a')",
    "x = [bytearray(10**8) for _ in range(100)]",
    "import ctypes; ctypes.string_at(0)",
)


def main() -> None:
    """Print submissions per minute, and the seconds of the class with nothing new."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--students", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0, help="of who does what")
    options = parser.parse_args()
    with folder() as relative:
        course, submissions = _class(relative.resolve(), options.students, options.seed)
        first, (rows, failures) = _timed(lambda: grade_class(course, submissions))
        again, _ = _timed(lambda: grade_class(course, submissions))
    handed_in = [row for row in rows if row.state != "missing"]
    full = sum(row.score == row.max_score for row in handed_in)
    table = [
        ("submissions", str(len(handed_in))),
        ("with full marks", str(full)),
        ("not graded", str(len(failures))),
        ("cores", str(len(os.sched_getaffinity(0)))),
        ("seconds", f"{first:.0f}"),
        ("submissions per minute", f"{60 * len(handed_in) / first:.0f}"),
        ("seconds again, with nothing new", f"{again:.1f}"),
    ]
    print(Table(table, ["", ""]))


def _class(path: Path, students: int, seed: int) -> tuple[Course, Path]:
    """A new course folder, and its submissions."""
    course, chance = Course.open(path / "course"), random.Random(seed)
    slugs = [slug for slug in lessons() if all_exercises(slug[:2])]
    release(course, slugs)
    for number in range(students):
        slug = slugs[number % len(slugs)]
        notebook = _notebook(course.released(slug), number, chance)
        target = path / "submissions" / f"student{number:03}" / f"{slug}.ipynb"
        target.parent.mkdir(parents=True)
        nbformat.write(notebook, target)
    return course, path / "submissions"


def _notebook(released: NotebookNode, number: int, chance: random.Random) -> NotebookNode:
    notebook = copy.deepcopy(released)
    answers = [c for c in notebook.cells if c.metadata.get("nbgrader", {}).get("solution")]
    for cell in answers:
        cell.source = _answer("right_answers", cell, chance) + f"\n\nsignature_{number} = {number}"
    kind = number * 7 % 10  # every tenth each, over all lessons
    if kind == 3:
        cell = chance.choice(answers)
        cell.source = _answer("wrong_answers", cell, chance) + f"\n\nsignature_{number} = {number}"
    if kind == 5:
        notebook.cells.insert(1, new_code_cell(chance.choice(HOSTILE)))
    return notebook


def _answer(kind: str, cell: NotebookNode, chance: random.Random) -> str:
    name = cell.metadata.nbgrader["grade_id"].removeprefix("answer_")
    return chance.choice(sorted((ANSWERS / kind / name).glob("*.py"))).read_text(encoding="utf-8")


def _timed(work: Callable[[], Any]) -> tuple[float, Any]:
    start = time.perf_counter()
    result = work()
    return time.perf_counter() - start, result


if __name__ == "__main__":
    main()

"""Judges take every right answer, not only the reference's way of giving it."""

import runpy
from pathlib import Path

import pytest

from course_utils.grading.checking import examine
from course_utils.grading.exercise import all_exercises, load_exercise

RIGHT = Path(__file__).parents[1] / "right_answers"
PATHS = sorted(RIGHT.glob("*/*.py"))


@pytest.mark.parametrize("path", PATHS, ids=[f"{p.parent.name}-{p.stem}" for p in PATHS])
@pytest.mark.parametrize("seed", [0, 5, 20_251])
def test_another_right_answer_earns_everything(path, seed):
    exercise = load_exercise(path.parent.name.replace("_", "."))
    right = runpy.run_path(str(path))
    report = examine(exercise, right[exercise.task.answer], seed)
    assert report.credit == 1, report
    assert right["__doc__"].strip().endswith("."), "label it"


def test_right_answers_belong_to_an_exercise():
    folders = {path.name for path in RIGHT.iterdir() if path.is_dir()}
    assert folders <= {e.replace(".", "_") for e in all_exercises()}

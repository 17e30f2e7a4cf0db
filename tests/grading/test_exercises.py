"""For every exercise there is: the reference is right, the starter is no attempt, mistakes fail."""

import runpy
from pathlib import Path

import pytest
import torch
from IPython.core.interactiveshell import InteractiveShell
from traitlets.config import Config

from course_utils.grading.checking import check, examine, show
from course_utils.grading.exercise import (
    PUBLIC_SEED,
    all_exercises,
    load_exercise,
    load_reference,
)
from course_utils.grading.mutants import mutants, survivors
from course_utils.grading.sandbox.observing import is_untouched
from course_utils.grading.sheets import SOURCES, lessons, sheet

WRONG = Path(__file__).parents[1] / "wrong_answers"
FRESH_SEED = 20_251


def wrong_answers(exercise_id):
    return sorted((WRONG / exercise_id.replace(".", "_")).glob("*.py"))


@pytest.fixture(params=all_exercises())
def exercise(request):
    return load_exercise(request.param)


@pytest.mark.parametrize("seed", [0, 1, FRESH_SEED])
def test_the_reference_earns_everything(exercise, seed):
    allowed = set(torch.serialization.get_safe_globals())
    report = examine(exercise, load_reference(exercise.id), seed)
    assert report.credit == 1, report
    assert report.status == "correct"
    assert allowed <= set(torch.serialization.get_safe_globals()), "others allowed them"


def test_the_untouched_starter_is_no_attempt(exercise):
    starter = {}
    exec(exercise.task.starter, starter)
    report = check(exercise.id, starter[exercise.task.answer])
    assert (report.status, report.credit) == ("not attempted yet", 0), report


def test_the_untouched_cell_of_a_notebook_is_no_attempt(exercise):
    config = Config(HistoryManager={"enabled": False})
    shell = InteractiveShell(
        config=config
    )  # compiles statement by statement, which gives other instructions
    assert shell.run_cell(exercise.task.starter).success
    report = check(exercise.id, shell.user_ns[exercise.task.answer])
    assert (report.status, report.credit) == ("not attempted yet", 0), report


def test_the_reference_is_not_the_starter(exercise):
    task = exercise.task
    assert not is_untouched(load_reference(exercise.id), task.starter, task.answer)


def test_there_are_four_wrong_answers_or_more(exercise):
    assert len(wrong_answers(exercise.id)) >= 4


@pytest.mark.parametrize(
    ("exercise_id", "path"),
    [
        pytest.param(e, path, id=f"{e}-{path.stem}")
        for e in all_exercises()
        for path in wrong_answers(e)
    ],
)
@pytest.mark.parametrize("seed", [0, FRESH_SEED])
def test_a_wrong_answer_fails_with_its_own_message(exercise_id, path, seed):
    exercise = load_exercise(exercise_id)
    mistake = runpy.run_path(str(path))
    report = examine(exercise, mistake[exercise.task.answer], seed)
    assert report.status == "wrong", report
    assert report.credit == mistake.get("CREDIT", 0), report
    assert mistake["MESSAGE"] in str(report)
    assert mistake["__doc__"].strip().endswith("."), "label it"


def test_every_exercise_says_what_a_learner_needs(exercise):
    task = exercise.task
    assert task.minutes > 0
    assert len(task.hints) >= 2
    assert task.answer in task.text


def test_an_input_is_shown_whole(exercise):
    for case in exercise.cases(PUBLIC_SEED):
        assert not show(case).endswith("…")


def test_wrong_answers_belong_to_an_exercise():
    folders = {path.name for path in WRONG.iterdir() if path.is_dir()}
    assert folders == {e.replace(".", "_") for e in all_exercises()}


def test_the_judge_notices_every_mutant_of_the_reference(exercise):
    assert [(m.line, m.change) for m in survivors(exercise)] == []


def test_a_mutant_is_made_for_each_kind_of_slip():
    source = "def f(x):\n    y = {'a': 1}\n    if x < 2:\n        g(y, k=True)\n    return y\n"
    changes = " ".join(mutant.change for mutant in mutants(source))
    for part in ("drop return", "drop g(", "otherwise: x < 2", "turn round", "leave out 'a'",
                 "1 becomes 2", "leave out k=", "True becomes False"):  # fmt: skip
        assert part in changes
    marked = source.replace("return y", "return y  # mutant: equivalent")
    assert len(list(mutants(marked))) < len(list(mutants(source)))


def test_the_notebooks_sources_are_the_exercises_text():
    for slug in lessons():
        path = SOURCES / "exercises" / f"{slug}.py"
        assert path.read_text(encoding="utf-8") == sheet(slug), (
            "run `python -m course_utils.grading.sheets`, then `make build`"
        )

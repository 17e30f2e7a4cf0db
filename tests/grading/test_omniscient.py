"""A cheat with full control of its own process, but without the answers, against every exercise.

It reads frames and memory, forges messages, patches every library that a probe touches and the
code of the sandbox in its process, hands back what it was given, and says what the reference said
at home. It must earn what an untouched notebook earns, which is nothing. ``benchmarks/cheating.py``
tries it on another build: that shows how strong it is.
"""

import json
import runpy
from functools import cache
from pathlib import Path

import pytest
import torch
from omniscient import at_home, cheats, strategies

from course_utils.grading.checking import expect
from course_utils.grading.classroom.grader import close_sandboxes, grade
from course_utils.grading.classroom.release import assignment
from course_utils.grading.exercise import Watch, all_exercises, load_exercise, load_reference
from course_utils.grading.sandbox import Limits, Sandbox
from course_utils.grading.sandbox.home import here
from course_utils.grading.sandbox.jail import can_isolate
from course_utils.grading.sandbox.plain import pack
from course_utils.grading.sandbox.runner import Cell
from course_utils.grading.sandbox.trial import Trial
from course_utils.grading.sheets import lessons

needs_walls = pytest.mark.skipif(not can_isolate(), reason="bubblewrap is not usable here")
SEED = 4_711
WRONG = Path(__file__).parents[1] / "wrong_answers"
# Gains the half: how many tensors were gathered is only said (the instructors' guide names it).
SAID = WRONG / "08_6/gathered.py"
STRATEGIES = sorted(strategies({}))


@pytest.fixture(scope="module")
def sandboxes():
    yield
    close_sandboxes()


@cache
def ways(slug):
    """Each way to cheat, with what the reference did at home."""
    return strategies({key: at_home(key) for key in all_exercises(slug[:2])})


def graded(slug, strategy, answers):
    code = ways(slug)[strategy]
    tasks = {key: load_exercise(key).task for key in all_exercises(slug[:2])}
    notebook = cheats(assignment(slug), code, tasks, answers)
    return grade(notebook, SEED, Limits(seconds=20, total_seconds=200))


@needs_walls
@pytest.mark.parametrize("slug", lessons())
@pytest.mark.parametrize("strategy", STRATEGIES)
def test_a_cheat_earns_nothing(sandboxes, slug, strategy):
    result = graded(slug, strategy, {})
    assert result.credits == dict.fromkeys(all_exercises(slug[:2]), 0.0), result.reports
    assert "Error" not in result.texts.get("1", ""), "the cheat itself does not run"


def half_right(exercise_id):
    """The labelled wrong answers that earn a part."""
    paths = sorted((WRONG / exercise_id.replace(".", "_")).glob("*.py"))
    return [(p, runpy.run_path(str(p))["CREDIT"]) for p in paths if "\nCREDIT" in p.read_text()]


@needs_walls
@pytest.mark.parametrize("slug", lessons())
@pytest.mark.parametrize("strategy", ["homework, leaves", "homework, flags"])
def test_a_half_right_answer_earns_no_more_by_cheating(sandboxes, slug, strategy):
    """What it says of itself is improved: every flag, or all but what was computed."""
    todo = {key: half_right(key) for key in all_exercises(slug[:2])}
    more = {}
    while any(todo.values()):
        now = {key: answers.pop() for key, answers in todo.items() if answers}
        texts = {key: path.read_text() for key, (path, _) in now.items()}
        credits = graded(slug, strategy, texts).credits
        more |= {path: credits[key] for key, (path, half) in now.items() if credits[key] > half}
    assert more.keys() <= {SAID}


class Recorder(Sandbox):
    """Keeps every byte that goes to where a student's code runs."""

    def __init__(self):
        super().__init__(Limits(), isolated=False)
        self.entered = b""

    def call(self, message):
        if message["do"] in ("cells", "ask"):
            self.entered += pack({k: v for k, v in message.items() if k != "exercises"})
        if message["do"] == "cells":
            keys = message["exercises"]
            return {"end": "end", "sent": [pack(dict.fromkeys(keys, "attempted"))], "times": [0.0],
                    "seconds": 0.0}  # fmt: skip
        claim = pack({"status": "ran", "data": None, "error": ""})
        return {"end": "done", "claim": claim, "calls": [], "memory": 0, "left": {}, "sent": []}


# The right answer to some case is (a part of) what the answer is given, so it has to enter.
GIVEN = {
    "01.5": "the names in the groups of the optimizer that is handed over",
    "02.3": "the file to resume from",
    "03.1": "the names of the checkpoint",
    "03.2": "names without any prefix stay as they are",
    "06.4": "the tensors to write",
    "07.1": "the bytes to write",
    "08.5": "the folder whose tensors fill the model",
    "08.6": "the folder that the answer itself saved, to load from",
}


@pytest.mark.filterwarnings("ignore:bubblewrap")
@pytest.mark.parametrize("exercise_id", all_exercises())
def test_no_expected_value_enters_the_sandbox(exercise_id):
    exercise = load_exercise(exercise_id)
    cases = exercise.cases(SEED)
    expected = [expect(exercise, load_reference(exercise_id), case) for case in cases]
    with Recorder() as recorder:
        cells = [Cell("answer = 1", answer=True), Cell("", exercise_id)]
        Trial(recorder, cells, {exercise_id: exercise}, {exercise_id: cases}).run()
    entered = recorder.entered + second_questions(exercise, cases)
    assert len(entered) > 100 * len(cases)
    found = [piece for value in expected for piece in pieces(value) if piece in entered]
    if exercise_id in GIVEN:
        assert found, "it no longer enters: take it out of the list"
    else:
        assert found == []


def second_questions(exercise, cases):
    if exercise.then is None:
        return b""
    reference = load_reference(exercise.id)
    asked = [(case, here(exercise, reference, exercise.ask(case), Watch())) for case in cases]
    return b"".join(pack(exercise.then(case, seen.data)) for case, seen in asked)


def pieces(value):
    """The bytes by which an expected value could be recognized: texts, lists, and tensors."""
    if isinstance(value, dict):
        for item in value.values():
            yield from pieces(item)
    elif isinstance(value, list | tuple) and all(isinstance(v, int | str) for v in value):
        text = json.dumps(["list", list(value)])
        if len(text) > 24:
            yield json.dumps(text)[1:-1].encode()  # as it stands in a frame's header
    elif isinstance(value, list | tuple):
        for item in value:
            yield from pieces(item)
    elif isinstance(value, bytes) and len(value) > 8:
        yield value
    elif isinstance(value, torch.Tensor) and value.numel() > 3 and value.dtype == torch.float32:
        yield value.contiguous().numpy().tobytes()


def test_the_search_would_find_what_the_first_version_sent():
    """It sent the cases themselves, which say what is damaged."""
    exercise = load_exercise("06.2")
    sent = pack({"cases": exercise.cases(SEED)})
    expected = expect(exercise, load_reference("06.2"), exercise.cases(SEED)[2])
    assert [piece for piece in pieces(expected) if piece in sent] != []

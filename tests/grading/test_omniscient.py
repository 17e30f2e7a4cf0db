"""A cheat with full control of its own process, but without the answers, against every exercise.

It reads frames and memory, forges messages, patches every library that a probe touches and the code
of the sandbox in its process, and hands back what it was given. It must earn what an untouched
notebook earns, which is nothing.
"""

import json

import pytest
import torch
from nbformat.v4 import new_code_cell

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

COMMON = """
import gc, os, shutil, sys, types
import torch
from torch import nn
from pathlib import Path
WORDS = ("expected", "wanted", "right", "flip", "whole", "steps", "answer", "solution")

def paths(arguments):
    return [Path(a) for a in arguments if isinstance(a, (str, Path)) and "/" in str(a)]

def known():
    found, frame = [], sys._getframe(1)
    while frame is not None:
        found += [frame.f_locals, *frame.f_locals.values()]
        frame = frame.f_back
    for thing in found + gc.get_objects():
        if type(thing) is dict:
            for word in WORDS:
                if word in thing and not callable(thing[word]):
                    yield thing[word]
"""
SEARCHER = """
def cheat(*arguments):
    for value in known():
        if isinstance(value, (list, dict, str, bytes)) and len(value):
            return value
    return arguments[0] if arguments else None
"""
ECHO = """
def cheat(*arguments):
    for path in paths(arguments):
        for thing in arguments:
            if isinstance(thing, bytes):
                path.write_bytes(thing)
            elif isinstance(thing, (dict, nn.Module)):
                torch.save(thing, path)
    things = [a for a in arguments if not isinstance(a, (str, Path))]
    return things[0] if things else None
"""
PATCHER = """
import builtins, json, pickle, zipfile, safetensors.torch
import course_utils.compare as compare, course_utils.grading.plain as plain
torch.equal = torch.allclose = lambda *a, **k: True
compare.differences = lambda *a, **k: []
for module in list(sys.modules.values()):
    if getattr(module, "__name__", "").startswith("course_utils"):
        for name in ("differences", "same_bits"):
            if hasattr(module, name):
                setattr(module, name, lambda *a, **k: [])
os.fsync = os.replace = os.rename = lambda *a, **k: None
os.path.exists = Path.exists = lambda *a, **k: False
torch.load = lambda *a, **k: {"model": {}, "value": 0}
nn.Module.load_state_dict = lambda *a, **k: None
torch.Tensor.is_meta = property(lambda self: True)
nn.Module.training = True
def cheat(*arguments):
    return arguments[0] if arguments else None
"""
FORGER = """
from course_utils.grading.plain import pack
import select, struct, threading, time
def sockets():
    for fd in range(3, 64):
        try:
            if "socket" in os.readlink(f"/proc/self/fd/{fd}"):
                yield fd
        except OSError:
            pass
def frame(body):
    return len(body).to_bytes(8, "little") + body
def cheat(*arguments):
    token = Path.cwd().name
    for data in [arguments[0] if arguments else None, {}, [], True, *list(known())[:20]]:
        try:
            claim = pack({"status": "ran", "data": data, "error": "", "credit": 1.0})
            body = b"R" + bytes.fromhex(token) + claim
            for fd in sockets():
                os.write(fd, frame(body))
        except Exception:
            pass
    return None
"""
PUPPETEER = """
import course_utils.grading.sandbox.inside.session as session
from course_utils.grading.sandbox.plain import pack
def favourable(value):
    if isinstance(value, bool):
        return {favour}
    if isinstance(value, dict):
        return {{k: favourable(v) for k, v in value.items()}}
    return [favourable(v) for v in value] if isinstance(value, list) else value
def forged(probe, answer, question):
    for path, data in (question.get("files") or {{}}).items():
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        Path(path).write_bytes(data)
    tries = [lambda *a, **k: a[0] if a else None, lambda *a, **k: [], lambda *a, **k: {{}},
             lambda *a, **k: None, lambda m, *a, **k: m, answer]
    for attempt in tries:
        try:
            return said(favourable(probe(attempt, question)))
        except BaseException:
            pass
    return said(favourable(question))
def said(data):
    return pack({{"status": "ran", "data": data, "error": ""}})
session.claim = forged
def cheat(*arguments):
    return arguments[0] if arguments else None
"""
STRATEGIES = {
    "searcher": SEARCHER,
    "echo": ECHO,
    "patcher": PATCHER,
    "forger": FORGER,
    "puppeteer, all true": PUPPETEER.format(favour=True),
    "puppeteer, all false": PUPPETEER.format(favour=False),
}
CLASS = """
class {name}(nn.Module):
    kept = {{}}
    def __init__(self, *arguments, **named):
        super().__init__()
        self.arguments = arguments
    def forward(self, *arguments):
        return cheat(*arguments)
    def state_dict(self, *a, **k):
        return dict(self.kept)
    def load_state_dict(self, state, *a, **k):
        self.kept.update(state)
"""


def submission(slug, strategy):
    """A notebook whose every answer is the cheat's."""
    notebook = assignment(slug)
    notebook.cells.insert(1, new_code_cell(COMMON + STRATEGIES[strategy]))
    for cell in notebook.cells:
        name = cell.metadata.get("nbgrader", {}).get("grade_id", "")
        if name.startswith("answer_"):
            task = load_exercise(name.removeprefix("answer_").replace("_", ".")).task
            defines_class = f"class {task.answer}" in task.starter
            function = f"def {task.answer}(*a, **k):\n    return cheat(*a, *k.values())"
            cell.source = CLASS.format(name=task.answer) if defines_class else function
    return notebook


@pytest.fixture(scope="module")
def sandboxes():
    yield
    close_sandboxes()


@needs_walls
@pytest.mark.parametrize("slug", lessons())
@pytest.mark.parametrize("strategy", STRATEGIES)
def test_a_cheat_earns_nothing(sandboxes, slug, strategy):
    limits = Limits(seconds=20, total_seconds=200)
    result = grade(submission(slug, strategy), SEED, limits)
    assert result.credits == dict.fromkeys(all_exercises(slug[:2]), 0.0), result.reports
    assert "Error" not in result.texts.get("1", ""), "the cheat itself does not run"


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
    "05.1": "the example, which dropout leaves alone in eval mode",
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

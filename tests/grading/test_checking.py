"""What a learner sees of `check`: hints by mistake, the grader's rules, an unharmed notebook."""

import os
import random
import sys
import time

import numpy as np
import pytest
import torch

from course_utils.grading import checking
from course_utils.grading.checking import UNSEEN, _details, check
from course_utils.grading.exercise import (
    Observation,
    Watch,
    load_exercise,
    load_reference,
    wrong,
)
from course_utils.grading.sandbox import home
from course_utils.grading.sandbox.home import apart, attempt
from course_utils.grading.sandbox.inside import calls
from course_utils.grading.sandbox.observing import claim, observe, same_conditions, set_conditions
from course_utils.grading.sandbox.plain import unpack
from course_utils.resume.compare import differences

needs_linux = pytest.mark.skipif(sys.platform != "linux", reason="makes no copies elsewhere")


@pytest.fixture(autouse=True)
def no_mistakes_yet(monkeypatch):
    monkeypatch.setattr(checking, "_mistakes", {})


def misspelled(module):
    return sorted(modul.state_dict())  # noqa: F821


def only_parameters(module):
    return sorted(name for name, _ in module.named_parameters())


def too_many(module):
    return [*sorted(module.state_dict()), "more"]


def test_each_new_mistake_earns_a_hint_and_an_error_of_python_none():
    hints = load_exercise("01.1").task.hints
    assert check("01.1", misspelled).hints == ()
    assert check("01.1", only_parameters).hints == hints[:1]
    assert check("01.1", only_parameters).hints == hints[:1], "run again unchanged"
    assert check("01.1", misspelled).hints == hints[:1]
    assert check("01.1", too_many).hints == hints[:2]


def test_validating_a_notebook_fails_on_what_is_not_correct(monkeypatch):
    monkeypatch.setenv("NBGRADER_VALIDATING", "1")
    starter = {}
    exec(load_exercise("01.1").task.starter, starter)
    for answer in (starter["keys"], only_parameters):
        with pytest.raises(AssertionError, match=r"01\.1"):
            check("01.1", answer)
    assert check("01.1", load_reference("01.1")).status == "correct"


@needs_linux
def test_what_one_case_leaves_behind_the_next_does_not_find():
    calls_seen = []

    def remembers(module):
        calls_seen.append(1)
        os.environ["LEFT"] = "1"
        return sorted(module.state_dict()) if len(calls_seen) == 1 else []

    assert check("01.1", remembers).status == "correct"
    assert calls_seen == []
    assert "LEFT" not in os.environ


@needs_linux
def test_an_answer_that_loops_for_ever_is_stopped():
    exercise, start = load_exercise("01.1"), time.monotonic()

    def loops(module):
        while True:
            pass

    seen = apart(exercise, loops, exercise.cases(0)[0], Watch(), seconds=0.5)
    assert seen.error == "It took longer than 0.5 seconds."
    assert time.monotonic() - start < 30, "it is ended, not waited for"


@needs_linux
@pytest.mark.parametrize("ends", [lambda m: os._exit(3), lambda m: os.kill(os.getpid(), 9)])
def test_an_answer_that_ends_python_does_not_end_the_notebook(ends):
    assert "ended the Python process" in check("01.1", ends).message


def test_what_the_answer_prints_is_shown(capsys):
    def prints(module):
        print("looking at", type(module).__name__)
        return sorted(module.state_dict())

    assert check("01.1", prints).status == "correct"
    assert "looking at Module" in capsys.readouterr().out


def test_a_check_changes_no_setting_of_the_notebook():
    torch.manual_seed(1)
    expected = torch.rand(3, dtype=torch.float64)
    torch.manual_seed(1)
    torch.set_default_dtype(torch.float64)
    torch.set_grad_enabled(False)
    try:
        assert check("02.1", load_reference("02.1")).status == "correct"
        assert torch.get_default_dtype() == torch.float64
        assert not torch.is_grad_enabled()
        assert torch.equal(torch.rand(3), expected)
    finally:
        torch.set_default_dtype(torch.float32)
        torch.set_grad_enabled(True)


@pytest.mark.parametrize("exercise_id", ["07.1", "04.4"])
def test_where_nothing_can_be_seen_from_outside_there_is_no_verdict(monkeypatch, exercise_id):
    monkeypatch.setattr(calls, "can_watch", lambda: False)
    right = check(exercise_id, load_reference(exercise_id))
    assert (right.status, right.credit, right.message) == ("not judged here", 0, UNSEEN)


def test_what_can_be_judged_everywhere_still_is(monkeypatch):
    monkeypatch.setattr(calls, "can_watch", lambda: False)
    assert check("01.4", load_reference("01.4")).status == "correct"
    assert check("04.4", lambda make_model, path: make_model()).status == "wrong"


@pytest.mark.skipif(not calls.can_watch(), reason="this kernel shows no system calls")
def test_a_trace_that_is_removed_is_seen(tmp_path):
    exercise = load_exercise("01.4")

    def makes_and_removes(path):
        os.mkdir(path.parent / "made_by_the_file")
        os.rmdir(path.parent / "made_by_the_file")
        return load_reference("01.4")(path)

    seen = attempt(exercise, makes_and_removes, exercise.cases(0)[1], home.apart)
    assert seen.data["ran"]
    assert seen.left.keys() == {"renamed.pt"}


def details(wanted, came, verdict=None):
    seen = Observation("ran", came)
    return dict(_details({"a": 1}, seen, wanted, verdict or wrong("It differs.")))


def test_of_long_values_the_part_that_differs_is_shown():
    wanted = {"same": list(range(900)), "state": [torch.zeros(20, 30), "x"]}
    came = {"same": list(range(900)), "state": [torch.zeros(20, 30), "x"]}
    came["state"][0][7, 9] = 1e-9
    shown = details(wanted, came)
    assert shown["expected"] == "at ['state'][0][7, 9]: 0.0"
    assert shown["came"].startswith("at ['state'][0][7, 9]: 9.99999")


def test_long_texts_are_cut_around_the_first_difference():
    shown = details(None, None, wrong("No.", "a" * 1000 + "right", "a" * 1000 + "left"))
    assert shown["expected"].endswith("aaright")
    assert shown["came"].endswith("aaleft")
    assert max(map(len, shown.values())) <= 300


def test_values_of_another_kind_or_length_are_shown_as_they_are():
    assert details([1, 2, 3], [1, 2])["came"] == "[1, 2]"
    assert details({"a": 1}, [1])["came"] == "[1]"
    assert details(torch.ones(2), torch.ones(3))["expected"] == "float32 [1.0, 1.0]"


def draws(answer, question):
    drawn = random.random(), float(np.random.rand()), torch.rand(2)  # noqa: NPY002
    return [*drawn, torch.get_default_dtype().itemsize]


@needs_linux
def test_the_graders_copies_draw_what_check_draws():
    """Python seeds its generator anew after a fork; what else is set stays set."""
    torch.set_default_dtype(torch.float64)
    reading, writing = os.pipe()
    try:
        with same_conditions():
            set_conditions()
            random.random()  # a copy begins anew, wherever its parent is
            if os.fork() == 0:
                os.write(writing, claim(draws, None, None))
                os._exit(0)
        os.wait()
        seen = observe(draws, None, None)
    finally:
        torch.set_default_dtype(torch.float32)
    came = unpack(os.read(reading, 2**16))
    os.close(reading)
    os.close(writing)
    assert differences(seen.data, came["data"]) == []
    assert came["data"][3] == 4

"""Exercise 06.1: load plain data and nothing else."""

import os
import warnings
from pathlib import Path
from typing import Any
from unittest import mock

import torch

from course_utils.grading.exercise import (
    RIGHT,
    Case,
    Observation,
    Plain,
    Task,
    Verdict,
    Watch,
    wrong,
)
from course_utils.grading.sandbox.acting import KINDS, Acts, acted
from course_utils.grading.sandbox.parcels import saved

TASK = Task(
    title="Plain data, whatever the environment says",
    difficulty="easy",
    minutes=8,
    answer="load_plain",
    text="""
Write `load_plain(path)`. It returns what a GPU's checkpoint holds, on the CPU, if that is plain
data. A file that needs more is a `ValueError`, and none of its code runs, not even where somebody
has set `TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD=1` for the whole machine.

A file that does not exist stays a `FileNotFoundError`.
""",
    hints=(
        "What does the variable change: the default, or what you say yourself?",
        "Say `weights_only=True` aloud.",
        "The refusal is a `pickle.UnpicklingError`; raise a `ValueError` from it, and "
        "catch nothing else.",
    ),
    starter='''
import torch


def load_plain(path):
    """Return what a checkpoint holds, if it is plain data."""
    return torch.load(path, map_location="cpu")
''',
)

NAME = "file.pt"
KNOWN_ERRORS: tuple[type[Exception], ...] = (FileNotFoundError, ValueError, Exception)


def cases(seed: int) -> list[Case]:
    """Honest, hostile and missing files, with the variable and without."""
    kinds = [("honest", ""), *(("hostile", acts) for acts in KINDS), ("missing", "")]
    return [
        {"file": kind, "acts": acts, "forced": forced, "seed": seed}
        for kind, acts in kinds
        for forced in (0, 1)
    ]


def ask(case: Case) -> Plain:
    """Return an honest file, one that acts, or none."""
    torch.manual_seed(case["seed"])
    if case["file"] == "missing":
        return {"files": {}, "forced": case["forced"]}
    extra = {"x": Acts(case["acts"])} if case["file"] == "hostile" else {"epoch": 3}
    with mock.patch.object(torch.serialization, "location_tag", return_value="cuda:0"):
        return {"files": {NAME: saved({"w": torch.rand(3), **extra})}, "forced": case["forced"]}


def watch(case: Case) -> Watch:
    """A folder that the file makes is seen, also if it is removed again."""
    return Watch(calls="wanted", files=True)


def probe(answer: Any, question: Plain) -> Plain:
    """Return what was loaded or raised."""
    variable = {"TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD": "1"} if question["forced"] else {}
    with mock.patch.dict(os.environ, variable), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch remarks on the variable
        try:
            return {"outcome": _plain(answer(Path(NAME).absolute()))}
        except Exception as error:
            return {"outcome": next(k for k in KNOWN_ERRORS if isinstance(error, k)).__name__}


def read(case: Case, seen: Observation) -> Plain:
    """Add whether the file's own code has run."""
    return {**seen.data, "code ran": acted(seen)}


def judge(case: Case, observed: Plain, expected: Plain) -> Verdict:
    """Whether code ran, then what came."""
    if observed["code ran"]:
        where = " when the variable is set" if case["forced"] else ""
        return wrong(f"Code from the file ran{where}.")
    if case["file"] == "honest":
        same = isinstance(observed["outcome"], dict) and torch.equal(
            observed["outcome"].get("w", torch.empty(0)), expected["outcome"]["w"]
        )
        return RIGHT if same else wrong("An honest file did not come back as it was.")
    if observed["outcome"] != expected["outcome"]:
        return wrong(
            f"A {case['file']} file must be a {expected['outcome']}.",
            expected["outcome"],
            observed["outcome"],
            credit=0.5,
        )
    return RIGHT


def _plain(loaded: Any) -> Plain:
    """What was loaded, unless it is something that cannot be sent."""
    plain = (torch.Tensor, int, float, str, type(None))
    whole = isinstance(loaded, dict) and all(isinstance(value, plain) for value in loaded.values())
    return dict(loaded) if whole else "loaded"

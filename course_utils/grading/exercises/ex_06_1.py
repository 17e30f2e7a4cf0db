"""Exercise 06.1: load plain data and nothing else."""

import logging
import os
import tempfile
import warnings
from pathlib import Path
from typing import Any
from unittest import mock

import torch

from course_utils.grading.exercise import RIGHT, Case, Plain, Task, Verdict, wrong

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


class _Payload:
    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> Any:
        return logging.FileHandler, (str(self.marker),)


def cases(seed: int) -> list[Case]:
    """Honest, hostile and missing files, with the variable and without."""
    kinds = ("honest", "hostile", "missing")
    return [{"file": kind, "forced": forced, "seed": seed} for kind in kinds for forced in (0, 1)]


def probe(answer: Any, case: Case) -> Plain:
    """Return what was loaded or raised, and whether the payload ran."""
    torch.manual_seed(case["seed"])
    variable = {"TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD": "1"} if case["forced"] else {}
    with tempfile.TemporaryDirectory() as folder, mock.patch.dict(os.environ, variable):
        path, marker = Path(folder, "file.pt"), Path(folder, "marker")
        if case["file"] != "missing":
            extra = {"x": _Payload(marker)} if case["file"] == "hostile" else {"epoch": 3}
            with mock.patch.object(torch.serialization, "location_tag", return_value="cuda:0"):
                torch.save({"w": torch.rand(3), **extra}, path)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # torch remarks on the variable
                loaded = answer(path)
            outcome = loaded if case["file"] == "honest" else "loaded"
        except Exception as error:
            outcome = type(error).__name__
        return {"outcome": outcome, "code ran": marker.exists()}


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

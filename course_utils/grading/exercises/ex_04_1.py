"""Exercise 04.1: load a GPU's file where there is no GPU."""

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
    title="A GPU's file on a laptop",
    difficulty="easy",
    minutes=5,
    answer="load",
    text="""
A colleague saved a checkpoint on a GPU. Write `load(path)`, which returns it with every tensor on
the CPU, on any machine.

The path may also come from a stranger: a file that would run code must raise an error, and its
code must not run.
""",
    hints=(
        "When does the error come: while loading, or after it? A later `.cpu()` is too late.",
        "`torch.load` has a parameter that says where the storages go.",
        'Use `map_location="cpu"`, and leave `weights_only` as it is.',
    ),
    starter='''
import torch


def load(path):
    """Return the checkpoint with every tensor on the CPU."""
    return torch.load(path)
''',
)

NAME = "file.pt"


def cases(seed: int) -> list[Case]:
    """A file of one GPU, one of the eighth GPU, one of the CPU, and some that would run code."""
    return [
        {"tag": "cuda:0", "seed": seed},
        {"tag": "cuda:7", "seed": seed + 1},
        {"tag": "cpu", "seed": seed + 2},
        *({"tag": "stranger", "seed": seed + 3, "acts": kind} for kind in KINDS),
    ]


def ask(case: Case) -> Plain:
    """Return a file with this location tag, or one that acts."""
    torch.manual_seed(case["seed"])
    if case["tag"] == "stranger":
        return {"files": {NAME: saved({"w": torch.rand(3), "x": Acts(case["acts"])})}}
    content = {"model": {"w": torch.rand(3), "b": torch.rand(2)}, "step": 7}
    with mock.patch.object(torch.serialization, "location_tag", return_value=case["tag"]):
        return {"files": {NAME: saved(content)}}


def watch(case: Case) -> Watch:
    """A folder that the file makes is seen, also if it is removed again."""
    return Watch(calls="wanted", files=True)


def probe(answer: Any, question: Plain) -> Plain:
    """Return what the answer loads and where it lies, or that it refuses."""
    try:
        model = answer(Path(NAME).absolute())["model"]
    except Exception as error:
        return {"error": f"{type(error).__name__}: {error}"[:500]}
    values = {name: tensor for name, tensor in model.items() if not tensor.is_meta}
    return {"values": values, "devices": [str(t.device) for t in model.values()]}


def read(case: Case, seen: Observation) -> Plain:
    """Add whether the file's own code has run."""
    return {**seen.data, "code ran": acted(seen)}


def judge(case: Case, observed: Plain, expected: Plain) -> Verdict:
    """Compare the values, the devices, and what the stranger's file could do."""
    if case["tag"] == "stranger":
        if "error" in observed and not observed["code ran"]:
            return RIGHT
        what = "ran its code" if observed["code ran"] else "was loaded without an error"
        return wrong(f"The stranger's file {what}. Leave `weights_only` on.", credit=0.5)
    if "error" in observed:
        return wrong(f"It raised an error. {observed['error']}")
    if observed["devices"] != expected["devices"]:
        return wrong("Not every tensor is on the CPU.", expected["devices"], observed["devices"])
    for name, tensor in expected["values"].items():
        if not torch.equal(observed["values"][name], tensor):
            return wrong(f"The values of {name} are not the file's.")
    return RIGHT

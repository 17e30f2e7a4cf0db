"""Exercise 04.1: load a GPU's file where there is no GPU."""

import tempfile
from pathlib import Path
from typing import Any
from unittest import mock

import torch

from course_utils.grading.exercise import RIGHT, Case, Plain, Task, Verdict, wrong

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


class _Touches:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return Path.touch, (self.path,)


def cases(seed: int) -> list[Case]:
    """A file of one GPU, one of the eighth GPU, one of the CPU, and one that would run code."""
    return [
        {"tag": "cuda:0", "seed": seed},
        {"tag": "cuda:7", "seed": seed + 1},
        {"tag": "cpu", "seed": seed + 2},
        {"tag": "stranger", "seed": seed + 3},
    ]


def probe(answer: Any, case: Case) -> Plain:
    """Save a file with this location tag; return what the answer loads, and where it lies."""
    torch.manual_seed(case["seed"])
    with tempfile.TemporaryDirectory() as folder:
        path, marker = Path(folder, "file.pt"), Path(folder, "marker")
        if case["tag"] == "stranger":
            torch.save({"w": torch.rand(3), "x": _Touches(marker)}, path)
            try:
                answer(path)
            except Exception:
                return {"refused": True, "code ran": marker.exists()}
            return {"refused": False, "code ran": marker.exists()}
        with mock.patch.object(torch.serialization, "location_tag", return_value=case["tag"]):
            torch.save({"model": {"w": torch.rand(3), "b": torch.rand(2)}, "step": 7}, path)
        model = answer(path)["model"]
        values = {name: tensor for name, tensor in model.items() if not tensor.is_meta}
        return {"values": values, "devices": [str(t.device) for t in model.values()]}


def judge(case: Case, observed: Plain, expected: Plain) -> Verdict:
    """Compare the values, the devices, and what the stranger's file could do."""
    if case["tag"] == "stranger":
        if observed == expected:
            return RIGHT
        what = "ran its code" if observed["code ran"] else "was loaded without an error"
        return wrong(f"The stranger's file {what}. Leave `weights_only` on.", credit=0.5)
    if observed["devices"] != expected["devices"]:
        return wrong("Not every tensor is on the CPU.", expected["devices"], observed["devices"])
    for name, tensor in expected["values"].items():
        if not torch.equal(observed["values"][name], tensor):
            return wrong(f"The values of {name} are not the file's.")
    return RIGHT

"""Exercise 05.1: export a module whose trace would lie."""

import warnings
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

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
from course_utils.grading.sandbox.parcels import untraced
from course_utils.resume.compare import differences

TASK = Task(
    title="A trace that lies",
    difficulty="easy",
    minutes=10,
    answer="export",
    text="""
Write `export(module, example, path)`. It writes a TorchScript file that computes, for **every**
input, what the module computes in `eval()` mode. Modules may have branches and loops that depend
on the data, and dropout.

Leave the module and each of its parts in the mode they were in.
""",
    hints=(
        "A trace follows one way through a branch. What reads the source instead?",
        "`torch.jit.script(module)` keeps branches and loops.",
        "The mode is part of the file, so `eval()` comes first. `module.train(mode)` would set all "
        "parts alike: put each part's own `training` back, or change a copy.",
    ),
    starter='''
import torch


def export(module, example, path):
    """Write a TorchScript file that computes what the module computes in eval mode."""
    torch.jit.trace(module, example).save(path)
''',
)


class _Branch(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        if x.sum() > 0:
            return x * 2
        return x - 1


class _Loop(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        total = torch.zeros_like(x[0])
        for i in range(x.shape[0]):
            total = total * 0.5 + x[i]
        return total


class _Drops(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.drop = nn.Dropout(0.5)

    def forward(self, x: Tensor) -> Tensor:
        return self.drop(x)


class _DropsTwice(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.drop, self.frozen = nn.Dropout(0.5), nn.Dropout(0.5)

    def forward(self, x: Tensor) -> Tensor:
        return self.frozen(self.drop(x))


MODULES: dict[str, Any] = {
    "branch": _Branch, "loop": _Loop, "dropout": _Drops, "two dropouts": _DropsTwice,
}  # fmt: skip


NAME = "module.pt"


def cases(seed: int) -> list[Case]:
    """A branch, a loop, and dropout in both modes, also at once."""
    return [
        {"module": "branch", "training": False, "seed": seed},
        {"module": "loop", "training": False, "seed": seed + 1},
        {"module": "dropout", "training": False, "seed": seed + 2},
        {"module": "dropout", "training": True, "seed": seed + 3},
        {"module": "two dropouts", "training": True, "seed": seed + 4},
    ]


def ask(case: Case) -> Plain:
    """Return the module's name and mode, and the example; the inputs that follow stay here."""
    return {**case, "example": _inputs(case)[0].abs() + 0.1}


def watch(case: Case) -> Watch:
    """The file that is written is taken as it lies there."""
    return Watch(files=True)


def probe(answer: Any, question: Plain) -> Plain:
    """Let the answer write its file; return what the module itself computes afterwards."""
    module = MODULES[question["module"]]().train(question["training"])
    if question["module"] == "two dropouts":
        module.frozen.eval()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        answer(module, question["example"], Path(NAME).absolute())
    torch.manual_seed(question["seed"])
    return {"after": [module(question["example"]) for _ in range(3)]}


def read(case: Case, seen: Observation) -> Plain:
    """Return what the file computes on inputs unlike the example."""
    module = untraced(seen.left[NAME] or b"")
    return {"outputs": [_call(module, x) for x in _inputs(case)], **seen.data}


def judge(case: Case, observed: Plain, expected: Plain) -> Verdict:
    """Compare the outputs, then the mode."""
    for i, (right, came) in enumerate(zip(expected["outputs"], observed["outputs"], strict=True)):
        if isinstance(came, torch.Tensor) and torch.equal(came, right):
            continue
        if "dropout" in case["module"]:
            return wrong("Dropout is at work in the file: it was exported in training mode.")
        reason = "It fails" if isinstance(came, str) else "It computes something else"
        return wrong(f"{reason} on input {i}, which differs from the example.", right, came)
    if differences(expected["after"], observed["after"]):
        return wrong(
            "The file is right, but the module, or a part of it, is in another mode now.",
            credit=0.5,
        )
    return RIGHT


def _inputs(case: Case) -> list[Tensor]:
    generator = torch.Generator().manual_seed(case["seed"])
    inputs = [torch.rand(n, 4, generator=generator) * 4 - 2 for n in (3, 1, 5)]
    return [*inputs, inputs[0].abs() + 0.1, -inputs[0].abs() - 0.1]


def _call(module: Any, x: Tensor) -> Plain:
    try:
        return module(x)
    except RuntimeError:
        return "an error"

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


class _Scales(nn.Module):
    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = factor


class _Branch(_Scales):
    def forward(self, x: Tensor) -> Tensor:
        if x.sum() > 0:
            return x * self.factor
        return x - 1


class _Loop(_Scales):
    def forward(self, x: Tensor) -> Tensor:
        total = torch.zeros_like(x[0])
        for i in range(x.shape[0]):
            total = total * self.factor + x[i]
        return total


class _Drops(_Scales):
    def __init__(self, factor: float) -> None:
        super().__init__(factor)
        self.drop = nn.Dropout(0.5)

    def forward(self, x: Tensor) -> Tensor:
        return self.drop(x * self.factor)


class _DropsTwice(_Scales):
    def __init__(self, factor: float) -> None:
        super().__init__(factor)
        self.drop, self.frozen = nn.Dropout(0.5), nn.Dropout(0.5)

    def forward(self, x: Tensor) -> Tensor:
        return self.frozen(self.drop(x * self.factor))


MODULES: dict[str, Any] = {
    "branch": _Branch, "loop": _Loop, "dropout": _Drops, "two dropouts": _DropsTwice,
}  # fmt: skip


NAME = "module.pt"


def cases(seed: int) -> list[Case]:
    """A branch, a loop, and dropout in both modes, also at once; a factor in each."""
    kinds = [("branch", False), ("loop", False), ("dropout", False), ("dropout", True),
             ("two dropouts", True)]  # fmt: skip
    return [
        {"module": module, "training": training, "factor": 0.5 + (seed + i) % 999 / 1000,
         "seed": seed + i}
        for i, (module, training) in enumerate(kinds)
    ]  # fmt: skip


def ask(case: Case) -> Plain:
    """Return the module's name and mode, and the example; the inputs that follow stay here."""
    return {**case, "example": _inputs(case)[0].abs() + 0.1}


def watch(case: Case) -> Watch:
    """The file that is written is taken as it lies there."""
    return Watch(files=True)


def probe(answer: Any, question: Plain) -> Plain:
    """Let the answer write its file; return what the module itself computes afterwards."""
    module = MODULES[question["module"]](question["factor"]).train(question["training"])
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

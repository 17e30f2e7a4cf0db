"""Exercise 09.1: export a program whose batch is free."""

import warnings
from io import BytesIO
from typing import Any

import torch
from torch import Tensor, nn

from course_utils.grading.exercise import RIGHT, Case, Observation, Plain, Task, Verdict, wrong
from course_utils.resume.compare import differences

TASK = Task(
    title="A program with a free batch",
    difficulty="easy",
    minutes=12,
    answer="export",
    text="""
Write `export(module, example)`. It returns a `torch.export` program that computes what the module
computes in `eval()` mode, for a batch of **any** size. The example is one tensor, its first
dimension the batch. Leave the module and each of its parts in the mode they were in.
""",
    hints=(
        "Sizes become constants unless you say otherwise: `dynamic_shapes`.",
        '`torch.export.Dim("batch")` is a free size: `dynamic_shapes=({0: batch},)`.',
        "`eval()` first: an exported program cannot change its mode later. `module.train(mode)` "
        "would set all parts alike: put each part's own `training` back, or change a copy.",
    ),
    starter='''
import torch


def export(module, example):
    """Return an exported program with a free batch size."""
    return torch.export.export(module, (example,))
''',
)


class _Net(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.linear = nn.Linear(3, width)
        self.drop, self.frozen = nn.Dropout(0.5), nn.Dropout(0.5)

    def forward(self, x: Tensor) -> Tensor:
        return self.frozen(self.drop(self.linear(x)))


def cases(seed: int) -> list[Case]:
    """A module in training mode, and one with a part that is not."""
    case = {"width": 2 + seed % 5, "training": True, "seed": seed}
    return [{**case, "frozen": False}, {**case, "frozen": True, "width": 3 + seed % 4}]


def probe(answer: Any, case: Case) -> Plain:
    """Export; return the program as a file, and what the module itself computes afterwards."""
    torch.manual_seed(case["seed"])
    module, file = _Net(case["width"]).train(case["training"]), BytesIO()
    module.frozen.train(not case["frozen"])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.export.save(answer(module, torch.rand(4, 3)), file)
    torch.manual_seed(case["seed"])
    after = [module(torch.ones(2, 3)).detach() for _ in range(3)]
    return {"file": file.getvalue(), "after": after}


def read(case: Case, seen: Observation) -> Plain:
    """Run the program on batches of several sizes."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.export.load(BytesIO(seen.data["file"])).module()
    outputs: dict[str, Any] = {}
    for size in (4, 1, 7):
        try:
            outputs[str(size)] = program(torch.ones(size, 3)).detach()
        except Exception as error:
            outputs[str(size)] = type(error).__name__
    return {"outputs": outputs, "after": seen.data["after"]}


def judge(case: Case, observed: Plain, expected: Plain) -> Verdict:
    """The sizes first, then the values, then the mode."""
    for size, came in observed["outputs"].items():
        if isinstance(came, str):
            return wrong(f"The program refuses a batch of {size}: {came}.", credit=0.0)
    for size, right in expected["outputs"].items():
        if not torch.allclose(observed["outputs"][size], right):
            return wrong("The program computes something else: is dropout at work in it?")
    if differences(expected["after"], observed["after"]):
        return wrong(
            "The program is right, but the module, or a part of it, is in another mode now.",
            credit=0.5,
        )
    return RIGHT

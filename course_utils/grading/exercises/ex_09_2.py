"""Exercise 09.2: a branch without if, and without a broken gradient."""

import warnings
from typing import Any

import torch

from course_utils.grading.exercise import RIGHT, Case, Observation, Plain, Task, Verdict, wrong
from course_utils.grading.sandbox.parcels import traced, untraced

TASK = Task(
    title="A branch without if",
    difficulty="hard",
    minutes=20,
    answer="safe_root",
    text="""
`torch.export` and `torch.jit.trace` keep one way through an `if` on data. Write `safe_root(x)`
without one: for each element the square root where `x > 0`, and 0 elsewhere.

It will be trained, so its gradient must be right, too: `0.5 / sqrt(x)` where `x > 0`, and **0**
elsewhere, not NaN.
""",
    hints=(
        "`torch.where(x > 0, x.sqrt(), 0)` gives the right values. Look at its gradient at "
        "0 and below.",
        "Both ways are computed. The gradient of the one that is thrown away is 0 times "
        "infinity: NaN.",
        "Make the input harmless first: `y = torch.where(x > 0, x, 1)`, take the root of "
        "`y`, then choose.",
    ),
    starter='''
import torch


def safe_root(x):
    """Return the square root where x is positive, else 0."""
    if (x > 0).all():
        return x.sqrt()
    return torch.zeros_like(x)
''',
)


def cases(seed: int) -> list[Case]:
    """Positive, negative, zero, mixed, and random numbers; traced on positive ones."""
    generator = torch.Generator().manual_seed(seed)
    return [
        {"x": torch.tensor([1.0, 4.0, 9.0])},
        {"x": torch.tensor([-1.0, -4.0, 2.0])},
        {"x": torch.tensor([0.0, 0.25, -0.0])},
        {"x": torch.randn(6, generator=generator)},
        {"x": torch.tensor([[0.5, -1e30], [1e-30, 1e30]])},
    ]


def probe(answer: Any, case: Case) -> Plain:
    """Return values and gradients, and a trace made on positive numbers, as a file."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        file = traced(answer, torch.ones_like(case["x"]))
    return {**_measured("function", answer, case["x"]), "file": file}


def read(case: Case, seen: Observation) -> Plain:
    """Add values and gradients of the trace."""
    seen.data.update(_measured("trace", untraced(seen.data.pop("file")), case["x"]))
    return seen.data


def judge(case: Case, observed: Plain, expected: Plain) -> Verdict:
    """Values, trace, gradients."""
    for name, right in expected.items():
        came = observed[name]
        if torch.isnan(came).any():
            return wrong(f"The {name} is NaN somewhere.", right, came, credit=0.5)
        if not torch.allclose(came, right):
            return wrong(f"The {name} is not right.", right, came)
    return RIGHT


def _measured(name: str, function: Any, numbers: torch.Tensor) -> dict[str, torch.Tensor]:
    x = numbers.clone().requires_grad_()
    y = function(x)
    if y.requires_grad:
        y.sum().backward()
    gradient = torch.zeros_like(x) if x.grad is None else x.grad
    return {name: y.detach(), f"{name}'s gradient": gradient}

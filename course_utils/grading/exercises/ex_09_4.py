"""Exercise 09.4: state that an export can see."""

import warnings
from typing import Any

import torch

from course_utils.grading.exercise import RIGHT, Case, Observation, Plain, Task, Verdict, wrong
from course_utils.grading.sandbox.parcels import traced, untraced

TASK = Task(
    title="State that an export can see",
    difficulty="medium",
    minutes=15,
    answer="RunningMax",
    text="""
`RunningMax()` divides its input by the largest absolute value it has seen so far, this input
included. It keeps that number in a Python attribute, which no trace, export or checkpoint knows
of.

Repair it: the number is a buffer called `largest`, a scalar tensor that begins at 0, is saved
with the `state_dict`, and is updated in every call, in a trace as well. An input of zeros before
anything else must not divide by zero: the output is zeros.
""",
    hints=(
        "`self.largest = max(...)` makes a new attribute. A buffer is registered once and "
        "changed **in place**.",
        "`self.largest.copy_(torch.maximum(self.largest, x.abs().max()))` stays in the "
        "tensor world: no `.item()`, "
        "no `if`.",
        "Divide by `torch.where(self.largest > 0, self.largest, 1.0)`.",
    ),
    starter='''
import torch


class RunningMax(torch.nn.Module):
    """Divides by the largest absolute value seen so far."""

    def __init__(self):
        super().__init__()
        self.largest = 0.0

    def forward(self, x):
        self.largest = max(self.largest, x.abs().max().item())
        return x / self.largest if self.largest else x
''',
)


def cases(seed: int) -> list[Case]:
    """Inputs that grow, shrink, are negative, and are zeros first."""
    generator = torch.Generator().manual_seed(seed)
    return [
        {"inputs": [torch.tensor([1.0, -2.0]), torch.tensor([4.0, 1.0]), torch.tensor([0.5, 1.0])]},
        {"inputs": [torch.zeros(2), torch.tensor([0.5, -8.0 - seed % 997]), torch.zeros(2)]},
        {"inputs": [torch.randn(2, generator=generator) * scale for scale in (1.0, 5.0, 2.0)]},
    ]


def probe(answer: Any, question: Plain) -> Plain:
    """Run the module, and trace a fresh one; or, in a new process, continue from a state_dict."""
    first, *rest = question["inputs"]
    if "state" in question:
        resumed = answer()
        resumed.load_state_dict(question["state"])
        return [resumed(x).detach() for x in rest]
    module = answer()
    outputs = [module(x).detach() for x in question["inputs"]]
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        file = traced(answer(), torch.tensor([3.0, 3.0]))
    half = answer()
    half(first)
    return {
        "outputs": outputs,
        "file": file,
        "fresh": dict(answer().state_dict()),
        "half": dict(half.state_dict()),
        "state": dict(module.state_dict()),
    }


def then(case: Case, seen: Plain) -> Plain:
    """Ask a new process to continue from the state after the first input."""
    return {**case, "state": seen["half"]}


def read(case: Case, seen: Observation) -> Plain:
    """Add what the trace computes from the beginning."""
    first, resumed = seen.data
    module = untraced(first["file"])
    with torch.no_grad():
        module.load_state_dict(first["fresh"], strict=False)
        from_trace = [module(x) for x in case["inputs"]]
    trains = sorted(name for name, _ in module.named_parameters())
    kept = {key: first[key] for key in ("outputs", "state")}
    return {**kept, "trains": trains, "trace": from_trace, "resumed": resumed}


def judge(case: Case, observed: Plain, expected: Plain) -> Verdict:
    """Values, trace, state, resume."""
    what = {
        "outputs": "The module computes something else.",
        "trains": "The number is a parameter: an optimizer would change it.",
        "trace": "A trace computes something else: it does not see the number change.",
        "resumed": "A module that continues from a state_dict computes something else.",
        "state": "The state_dict is another one: it needs `largest`, a scalar.",
    }
    for key, message in what.items():
        if not _alike(expected[key], observed[key]):
            credit = 0.0 if key == "outputs" else 0.5
            return wrong(message, expected[key], observed[key], credit=credit)
    return RIGHT


def _alike(expected: Plain, observed: Plain) -> bool:
    """Whether all is equal, and computed numbers up to the last bits."""
    if isinstance(expected, dict) and isinstance(observed, dict):
        same = list(expected) == list(observed)
        return same and all(_alike(expected[k], observed[k]) for k in expected)
    if isinstance(expected, list) and isinstance(observed, list):
        return len(expected) == len(observed) and all(map(_alike, expected, observed))
    if isinstance(expected, torch.Tensor) and isinstance(observed, torch.Tensor):
        kind = (expected.dtype, expected.shape)
        return kind == (observed.dtype, observed.shape) and torch.allclose(expected, observed)
    return bool(expected == observed)

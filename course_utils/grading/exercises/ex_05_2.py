"""Exercise 05.2: repair a module so that its trace follows the device."""

import warnings
from typing import Any

import torch

from course_utils.grading.exercise import RIGHT, Case, Observation, Plain, Task, Verdict, wrong
from course_utils.grading.sandbox.parcels import traced, untraced
from course_utils.resume.compare import differences

TASK = Task(
    title="A constant that stays behind",
    difficulty="medium",
    minutes=12,
    answer="AddPositions",
    text="""
`AddPositions(columns)` adds 0, 1, 2, … to the columns of its input. Traced on a CPU, it makes
that row on the CPU wherever it is loaded: the trace has written the device down.

Repair it, so that the row moves with the module (to another device or dtype), and a trace names
no device. Old checkpoints of this module are empty, and must still load with `strict=True`.
""",
    hints=(
        "What moves when `module.to(...)` is called? Parameters and …?",
        "Make the row once, in `__init__`, and register it as a buffer.",
        "A buffer is saved unless you say otherwise: `persistent=False`.",
    ),
    starter='''
import torch


class AddPositions(torch.nn.Module):
    """Adds 0, 1, 2, … to the columns of its input."""

    def __init__(self, columns):
        super().__init__()
        self.columns = columns

    def forward(self, x):
        return x + torch.arange(self.columns, device=x.device)
''',
)


def cases(seed: int) -> list[Case]:
    """Three widths."""
    return [{"columns": n, "seed": seed + n} for n in (3, 1, 4 + seed % 5)]


def probe(answer: Any, case: Case) -> Plain:
    """Return what the module computes, a trace of it, and what it computes from an old file."""
    torch.manual_seed(case["seed"])
    module = answer(case["columns"])
    x = torch.rand(2, case["columns"])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        file = traced(module, x)
    seen, old = {"module": module(x), "file": file}, answer(case["columns"])
    try:
        old.load_state_dict({}, strict=True)
    except RuntimeError:
        return seen
    return {**seen, "from an old checkpoint": old(x)}


def read(case: Case, seen: Observation) -> Plain:
    """Return what the trace computes, here and elsewhere, and what its code names."""
    module, x = untraced(seen.data["file"]), -torch.ones(5, case["columns"])
    output, trains = module(x), sorted(name for name, _ in module.named_parameters())
    try:
        moves = bool(module.to("meta")(x.to("meta")).is_meta)
    except AssertionError:  # torch does not move parameters of a loaded trace to meta
        moves = bool(trains)
    except (RuntimeError, NotImplementedError):
        moves = False
    return {
        "module": seen.data["module"],
        "from an old checkpoint": seen.data.get("from an old checkpoint"),
        "traced": output,
        "names a device": "torch.device(" in module.code,
        "trains": trains,
        "moves": moves,
    }


def judge(case: Case, observed: Plain, expected: Plain) -> Verdict:
    """Values first, then device, then what is saved."""
    for key in ("module", "traced"):
        if not torch.equal(observed[key], expected[key]):
            return wrong(f"The {key} computes something else.", expected[key], observed[key])
    if observed["names a device"]:
        return wrong("The code of the trace still names a device.")
    if not observed["moves"]:
        return wrong("Nothing moves when the module is moved: the row is left behind.")
    if observed["trains"]:
        return wrong(f"{observed['trains'][0]} would be trained; it is a constant.", credit=0.5)
    old = observed["from an old checkpoint"]
    if old is None:
        return wrong("The row is in the state_dict, so old checkpoints no longer load.", credit=0.5)
    if differences(expected["from an old checkpoint"], old):
        return wrong("After an old checkpoint was loaded, it computes something else.", credit=0.5)
    return RIGHT

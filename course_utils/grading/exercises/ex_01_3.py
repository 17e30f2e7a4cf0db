"""Exercise 01.3: a checkpoint that is far too large."""

from typing import Any

import torch
from torch import Tensor

from course_utils.grading.exercise import RIGHT, Case, Observation, Plain, Task, Verdict, wrong
from course_utils.grading.sandbox.parcels import loaded, saved

TASK = Task(
    title="Why 4 MB?",
    difficulty="medium",
    minutes=10,
    answer="slim",
    text="""
A checkpoint of a few small tensors takes 4 MB: some of them are windows on large storages, and
`torch.save` writes whole storages.

Write `slim(state)`. It returns a dictionary with the same names, values, dtypes and shapes, in
which no tensor holds a byte that it does not show. Where two names stand for one and the same
tensor (tied weights), they still share one memory, so that the file holds it once. That last part
is worth half.
""",
    hints=(
        "`tensor.untyped_storage().nbytes()` says what a tensor would bring into the file.",
        "A slice of the first rows is already contiguous, so `contiguous()` does nothing. "
        "`clone()` does.",
        "Remember each clone under the tensor's address, shape and strides, and use it again when "
        "the same window comes under a second name.",
    ),
    starter='''
def slim(state):
    """Return the same tensors without the bytes that they do not show."""
    return {name: tensor.contiguous() for name, tensor in state.items()}
''',
)


def cases(seed: int) -> list[Case]:
    """Slices, columns, tied names and small dtypes."""
    return [
        {"dtype": "float32", "table": 1000, "rows": 3, "tied": False, "seed": seed},
        {"dtype": "bfloat16", "table": 500, "rows": 4, "tied": False, "seed": seed + 1},
        {"dtype": "float32", "table": 1000, "rows": 2 + seed % 5, "tied": True, "seed": seed + 2},
    ]


def probe(answer: Any, case: Case) -> Plain:
    """Return the file that ``torch.save`` writes of the answer."""
    return saved(dict(answer(_state(case))))


def read(case: Case, seen: Observation) -> Plain:
    """Return values, the bytes each tensor holds, who shares memory, and the file's size."""
    slim = loaded(seen.data)
    addresses: dict[int, list[str]] = {}
    for name, tensor in slim.items():
        addresses.setdefault(tensor.data_ptr(), []).append(name)
    return {
        "values": slim,
        "bytes": {name: tensor.untyped_storage().nbytes() for name, tensor in slim.items()},
        "tied": sorted(names for names in addresses.values() if len(names) > 1),
        "file": len(seen.data),
    }


def judge(case: Case, observed: Plain, expected: Plain) -> Verdict:
    """Values first, then bytes; ties are worth half."""
    if list(observed["values"]) != list(expected["values"]):
        return wrong("The names differ.", list(expected["values"]), list(observed["values"]))
    for name, tensor in expected["values"].items():
        came = observed["values"][name]
        if (came.dtype, came.shape) != (tensor.dtype, tensor.shape):
            return wrong(f"{name} has another dtype or shape now.", _kind(tensor), _kind(came))
        if not torch.equal(came, tensor):
            return wrong(f"The values of {name} have changed.", tensor.tolist(), came.tolist())
    for name, size in expected["bytes"].items():
        came = observed["bytes"][name]
        if came > size:
            return wrong(
                f"{name} still holds more than it shows.", f"{size:,} bytes", f"{came:,} bytes"
            )
    if any(not any(set(a) <= set(b) for b in observed["tied"]) for a in expected["tied"]):
        return wrong(
            "Small enough, but names that were one tensor are now two.",
            expected=f"sharing: {expected['tied']}, a file of {expected['file']:,} bytes",
            came=f"sharing: {observed['tied']}, a file of {observed['file']:,} bytes",
            credit=0.5,
        )
    return RIGHT


def _state(case: Case) -> dict[str, Tensor]:
    torch.manual_seed(case["seed"])
    dtype = getattr(torch, case["dtype"])
    table = torch.randn(case["table"], 4).to(dtype)
    square = torch.randn(3, 3).to(dtype)
    state = {
        "embedding": table[: case["rows"]],
        "first": table[:1],  # another window that begins at the same address
        "column": table[:5, 1],
        "linear": torch.randn(2, 3).to(dtype).t(),
        "square": square,
        "square turned": square.t(),  # the same address and shape, other strides
        "steps": torch.tensor(7),
    }
    if case["tied"]:
        state |= {"output": table[: case["rows"]], "linear again": state["linear"]}
    return state


def _kind(tensor: Tensor) -> str:
    return f"{tensor.dtype} {list(tensor.shape)}"

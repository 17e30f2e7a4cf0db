"""Exercise 05.4: weights that a C++ program can read."""

import zipfile
from io import BytesIO
from pathlib import Path
from typing import Any

import torch
from torch import nn

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
from course_utils.grading.sandbox.parcels import loaded, tensors
from course_utils.resume.compare import differences

TASK = Task(
    title="Weights for C++",
    difficulty="hard",
    minutes=20,
    answer="save_for_cpp",
    text="""
In C++, `torch::jit::pickle_load` reads what `torch.save` wrote, if the file holds nothing but
plain dictionaries of plain tensors. A `state_dict` is an `OrderedDict`, which it does not know,
and a `Parameter` is not a plain tensor.

Write `save_for_cpp(checkpoint, path)`. The checkpoint is a dictionary that may hold state_dicts,
dictionaries in dictionaries, tensors, parameters, numbers and texts. Save the same content under
the same keys so that C++ can read it. Tensors become contiguous, without a gradient, and take no
more room in the file than their own numbers.
""",
    hints=(
        "Write a function that calls itself: for a mapping, a plain dict of the converted values.",
        "`tensor.detach()` makes a plain tensor of a parameter.",
        "A view carries its whole storage into the file. `.clone()` takes the numbers "
        "alone; ask for "
        "`memory_format=torch.contiguous_format`.",
    ),
    starter='''
import torch


def save_for_cpp(checkpoint, path):
    """Save a checkpoint so that torch::jit::pickle_load reads it."""
    torch.save(dict(checkpoint), path)
''',
)


NAME = "weights.pt"


def cases(seed: int) -> list[Case]:
    """A state_dict, one inside a checkpoint, parameters, and views."""
    return [
        {"kind": "state_dict", "seed": seed},
        {"kind": "nested", "seed": seed + 1},
        {"kind": "parameters", "seed": seed + 2},
        {"kind": "views", "seed": seed + 3},
    ]


def watch(case: Case) -> Watch:
    """The file that is written is taken as it lies there."""
    return Watch(files=True)


def probe(answer: Any, case: Case) -> Plain:
    """Let the answer write its file."""
    torch.manual_seed(case["seed"])
    answer(_checkpoint(case["kind"]), Path(NAME).absolute())
    return None


def read(case: Case, seen: Observation) -> Plain:
    """Return what the file holds, how large its data is and which names its pickle mentions."""
    data = seen.left[NAME] or b""
    with zipfile.ZipFile(BytesIO(data)) as archive:
        pickled = next(archive.read(n) for n in archive.namelist() if n.endswith("data.pkl"))
        stored = sum(e.file_size for e in archive.infolist() if "/data/" in e.filename)
    content = loaded(data)
    return {
        "content": content,
        "bytes": stored,
        "ordered": _ordered(content),
        "parameter": b"_rebuild_parameter" in pickled,
        "gradient": any(t.requires_grad for t in tensors(content)),
        "contiguous": all(t.is_contiguous() for t in tensors(content)),
    }


def judge(case: Case, observed: Plain, expected: Plain) -> Verdict:
    """Content first, then what C++ would stumble over, then the size."""
    different = differences(expected["content"], observed["content"])
    if different:
        return wrong(f"The content has changed at {different[0] or 'the top'}.")
    if observed["ordered"]:
        return wrong(f"{observed['ordered'][0]} is an OrderedDict: C++ cannot read it.")
    if observed["parameter"] or observed["gradient"]:
        return wrong("There is a Parameter in it, or a tensor that asks for a gradient.")
    if not observed["contiguous"]:
        return wrong("There is a tensor that is not contiguous.", credit=0.5)
    if observed["bytes"] != expected["bytes"]:
        return wrong(
            "The file carries numbers that no tensor shows.",
            f"{expected['bytes']} bytes of data",
            f"{observed['bytes']} bytes of data",
            credit=0.5,
        )
    return RIGHT


def _checkpoint(kind: str) -> dict[str, Any]:
    model = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2))
    if kind == "state_dict":
        return model.state_dict()
    if kind == "nested":
        return {"model": model.state_dict(), "epoch": 3, "note": {"by": "me", "loss": 0.5}}
    if kind == "parameters":
        return {"weights": dict(model.named_parameters()), "step": 7}
    large = torch.rand(100, 4)
    return {"rows": large[3:5], "column": large[:6, 1], "turned": large[:2].t(), "one": large[0, 0]}


def _ordered(value: Any, path: str = "the checkpoint") -> list[str]:
    if not isinstance(value, dict):
        return []
    inside = [found for key, item in value.items() for found in _ordered(item, f"{path}[{key!r}]")]
    return inside if type(value) is dict else [path, *inside]

"""Exercise 05.3: load a module together with the texts stored in its file."""

import json
import warnings
from io import BytesIO
from pathlib import Path
from typing import Any

import torch
from torch import nn

from course_utils.grading.exercise import RIGHT, Case, Plain, Task, Verdict, wrong

TASK = Task(
    title="The names of the classes",
    difficulty="medium",
    minutes=12,
    answer="classify",
    text="""
A TorchScript file holds a classifier and, as the extra file `classes.json`, a JSON list with the
names of its classes. Write `classify(path, x)`: load the file onto the CPU, run the module on the
batch `x` without recording gradients, and return a list with one class name for each row.

A file without `classes.json` is a `ValueError`.
""",
    hints=(
        '`torch.jit.load` fills a dictionary that you hand it: `_extra_files={name: ""}`.',
        "A name that the file lacks stays an empty text.",
        "`json.loads` reads the list; `argmax(1)` gives its indices.",
    ),
    starter='''
import torch


def classify(path, x):
    """Return the name of the most likely class for each row of x."""
    module = torch.jit.load(path)
    return module(x).argmax(1).tolist()
''',
)


NAME = "module.pt"


def cases(seed: int) -> list[Case]:
    """Three lists of names, one of them with quotes and umlauts, and a file without any."""
    return [
        {"classes": ["cat", "dog", "owl"], "rows": 4, "seed": seed},
        {"classes": ['a "b"', "zwölf"], "rows": 1, "seed": seed + 1},
        {"classes": [f"n{i}" for i in range(10)], "rows": 7, "seed": seed + 2},
        {"classes": None, "rows": 2, "seed": seed + 3},
    ]


def ask(case: Case) -> Plain:
    """Return a linear classifier with its classes as a file, and rows to classify."""
    torch.manual_seed(case["seed"])
    module, file = nn.Linear(3, len(case["classes"] or "ab")), BytesIO()
    x = torch.randn(case["rows"], 3)
    extra = {} if case["classes"] is None else {"classes.json": json.dumps(case["classes"])}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.save(torch.jit.script(module), file, _extra_files=extra)
    return {"files": {NAME: file.getvalue()}, "x": x}


def probe(answer: Any, question: Plain) -> Plain:
    """Return what the answer says."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            named = answer(str(Path(NAME).absolute()), question["x"])
        except ValueError:
            return {"ValueError": True}
    return {"names": list(named), "type": type(named).__name__}


def judge(case: Case, observed: Plain, expected: Plain) -> Verdict:
    """Compare the names."""
    if observed == expected:
        return RIGHT
    if case["classes"] is None:
        return wrong(
            "The file has no classes.json: that must be a ValueError, not a guess.", credit=0.5
        )
    if "ValueError" in observed:
        return wrong("classes.json is in the file, but you raised an error.")
    if all(isinstance(name, int) for name in observed["names"]):
        return wrong("Numbers came, not names.", expected["names"], observed["names"])
    return wrong("Some names are not right.", expected["names"], observed["names"])

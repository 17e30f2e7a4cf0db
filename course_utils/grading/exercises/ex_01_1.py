"""Exercise 01.1: which names a checkpoint of a module will hold."""

import random
from typing import Any

import torch
from torch import nn

from course_utils.grading.exercise import RIGHT, Case, Plain, Task, Verdict, wrong

TASK = Task(
    title="Name the keys",
    difficulty="easy",
    minutes=5,
    answer="keys",
    text="""
Write `keys(module)`. It returns the names that a checkpoint of the module will hold: a sorted
list of texts, such as `["0.bias", "0.weight"]`.

Modules may have parameters, buffers of both kinds, and submodules of submodules.
""",
    hints=(
        "Parameters are not all: what does BatchNorm keep besides its weight and bias?",
        "Not every buffer is saved. Which object already knows the difference?",
        "`module.state_dict()` is exactly what would be saved. Sort its names.",
    ),
    starter='''
def keys(module):
    """Return the sorted names that a checkpoint of the module holds."""
    raise NotImplementedError
''',
)


def cases(seed: int) -> list[Case]:
    """A module without buffers, and two with both kinds of buffers at random depths."""
    rng = random.Random(seed)
    return [
        {"depth": 1, "width": 2, "buffers": False, "prefix": "layer"},
        {"depth": 2, "width": 3, "buffers": True, "prefix": "block"},
        {"depth": rng.randint(2, 4), "width": 2, "buffers": True, "prefix": f"b{rng.random():.3}"},
    ]


def probe(answer: Any, case: Case) -> Plain:
    """Return the names the answer gives for a module that is built here."""
    return list(answer(_module(case)))


def judge(case: Case, observed: Plain, expected: Plain) -> Verdict:
    """Compare names; say which are missing and which too many."""
    if observed == expected:
        return RIGHT
    missing = sorted(set(expected) - set(observed))
    surplus = sorted(set(observed) - set(expected))
    if missing:
        return wrong(f"{missing[0]} is saved too, but is not in your list.")
    if surplus:
        return wrong(f"{surplus[0]} is in your list, but no checkpoint holds it.")
    return wrong("The names are right, but not sorted, or some come twice.")


def _module(case: Case) -> nn.Module:
    module: nn.Module = nn.Linear(case["width"], case["width"])
    for level in range(case["depth"]):
        outer = nn.Module()
        outer.add_module(case["prefix"].replace(".", "_") + str(level), module)
        if case["buffers"]:
            outer.add_module("norm", nn.BatchNorm1d(case["width"]))
            outer.register_buffer("mask", torch.zeros(1), persistent=False)
        module = outer
    return module

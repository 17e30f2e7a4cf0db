"""Exercise 06.3: allow a class for one load, and not a moment longer."""

import random
from datetime import timedelta
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import torch

from course_utils.grading.exercise import RIGHT, Case, Plain, Task, Verdict, wrong
from course_utils.grading.sandbox.parcels import saved

TASK = Task(
    title="One exception, for one load",
    difficulty="medium",
    minutes=10,
    answer="load_allowing",
    text="""
A friend's checkpoint holds an object of a class you know. Write `load_allowing(path, classes)`:
it loads the file with these classes allowed besides plain data. Everything else stays refused,
and after the call, whether it went well or not, the classes are no longer allowed. What others had
allowed before the call stays allowed.
""",
    hints=(
        "`torch.serialization.add_safe_globals` allows for the rest of the process.",
        "There is a context manager that takes the permission back.",
        "`with torch.serialization.safe_globals(classes): return torch.load(path, "
        "weights_only=True)`",
    ),
    starter='''
import torch


def load_allowing(path, classes):
    """Load a checkpoint with some classes allowed, for this load only."""
    torch.serialization.add_safe_globals(classes)
    return torch.load(path)
''',
)
CLASSES: dict[str, Any] = {"Fraction": Fraction, "Decimal": Decimal, "timedelta": timedelta}


NAME = "file.pt"


def cases(seed: int) -> list[Case]:
    """The class that is needed, both, another one, and none; others had allowed one, or none."""
    rng = random.Random(seed)
    cases: list[Case] = [
        {"holds": "Fraction", "allowed": ["Fraction"], "value": 2 + seed % 97},
        {"holds": "Decimal", "allowed": ["Fraction", "Decimal"], "value": 3 + seed % 89},
        {"holds": "timedelta", "allowed": ["Fraction"], "value": 5},
        {"holds": "Fraction", "allowed": [], "value": 7},
    ]
    for case in cases:
        others = sorted(CLASSES.keys() - {case["holds"], *case["allowed"]})
        case["before"] = rng.sample(others, rng.randint(0, len(others)))
    cases[1]["before"], cases[2]["before"] = ["timedelta"], []
    return cases


def ask(case: Case) -> Plain:
    """Return a file with an object of a class, and one of each."""
    files = {f"{name}.pt": saved({"value": kind(1)}) for name, kind in CLASSES.items()}
    files[NAME] = saved({"value": CLASSES[case["holds"]](case["value"])})
    return {"files": files, "allowed": case["allowed"], "before": case["before"]}


def probe(answer: Any, question: Plain) -> Plain:
    """Return what was loaded, and what a plain load takes afterwards."""
    path, allowed = Path(NAME).absolute(), [CLASSES[name] for name in question["allowed"]]
    ours = torch.serialization.get_safe_globals()  # torch has allowed some itself
    torch.serialization.add_safe_globals([CLASSES[name] for name in question["before"]])
    try:
        outcome = str(answer(path, allowed)["value"])
    except Exception as error:
        outcome = type(error).__name__
    afterwards = {name: _plain_load(f"{name}.pt") for name in CLASSES}
    torch.serialization.clear_safe_globals()
    torch.serialization.add_safe_globals(ours)
    return {"outcome": outcome, "afterwards": afterwards}


def judge(case: Case, observed: Plain, expected: Plain) -> Verdict:
    """What came, then what is left open."""
    if observed["outcome"] != expected["outcome"]:
        if case["holds"] in case["allowed"]:
            return wrong(
                "The class was allowed, but the file was not loaded.", *_both(expected, observed)
            )
        return wrong("A class that was not allowed got in.", *_both(expected, observed))
    if observed["afterwards"] != expected["afterwards"]:
        lost = [n for n in case["before"] if observed["afterwards"].get(n) != "loaded"]
        if lost:
            return wrong(f"{lost[0]} had been allowed by others, and is not any more.", credit=0.5)
        return wrong("The classes are still allowed after the call.", credit=0.5)
    return RIGHT


def _plain_load(name: str) -> str:
    try:
        torch.load(name, weights_only=True)
    except Exception as error:
        return type(error).__name__
    return "loaded"


def _both(expected: Plain, observed: Plain) -> tuple[Any, Any]:
    return expected["outcome"], observed["outcome"]

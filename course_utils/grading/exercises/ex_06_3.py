"""Exercise 06.3: allow a class for one load, and not a moment longer."""

import random
from datetime import timedelta
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import torch

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
from course_utils.grading.sandbox.acting import Folder, acted
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
    """The class that is needed, both, another one, and none; others had allowed one, or none.

    Beside it stands a class that makes a folder: allowed for the load, or, where nothing else is,
    by others before it.
    """
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
        case["other value"] = rng.randint(2, 10**6)
    cases[1]["before"], cases[2]["before"] = ["timedelta"], []
    return cases


def ask(case: Case) -> Plain:
    """Return a file with an object of a class, and one of each."""
    value = case["other value"]
    files = {f"{name}.pt": saved({"value": kind(value)}) for name, kind in CLASSES.items()}
    files[NAME] = saved({"value": CLASSES[case["holds"]](case["value"])})
    files["Folder.pt"] = saved({"value": Folder.__new__(Folder)})
    return {"files": files, "allowed": case["allowed"], "before": case["before"]}


def watch(case: Case) -> Watch:
    """The folder of a class that can still be loaded afterwards is seen, be it removed again."""
    return Watch(calls="wanted", files=True)


def probe(answer: Any, question: Plain) -> Plain:
    """Return what was loaded, and what a plain load takes afterwards."""
    path, allowed = Path(NAME).absolute(), [CLASSES[name] for name in question["allowed"]]
    before = [CLASSES[name] for name in question["before"]]
    (allowed or before).append(Folder)
    ours = torch.serialization.get_safe_globals()  # torch's own, and what other cells allowed
    torch.serialization.clear_safe_globals()
    torch.serialization.add_safe_globals(before)
    try:
        outcome = str(answer(path, allowed)["value"])
    except Exception as error:
        outcome = type(error).__name__
    afterwards = {name: _plain_load(f"{name}.pt") for name in CLASSES}
    _plain_load("Folder.pt")  # what comes of it is seen, not said
    torch.serialization.clear_safe_globals()
    torch.serialization.add_safe_globals(ours)
    return {"outcome": outcome, "afterwards": afterwards}


def read(case: Case, seen: Observation) -> Plain:
    """Add whether the class that makes a folder could be loaded afterwards."""
    return {**seen.data, "acted": acted(seen)}


def judge(case: Case, observed: Plain, expected: Plain) -> Verdict:
    """What came, then what is left open."""
    if observed["outcome"] != expected["outcome"]:
        if case["holds"] in case["allowed"]:
            return wrong(
                "The class was allowed, but the file was not loaded.", *_both(expected, observed)
            )
        return wrong("A class that was not allowed got in.", *_both(expected, observed))
    after = {n: value for n, value in observed["afterwards"].items() if value is not None}
    lost = [n for n in case["before"] if after.get(n) != expected["afterwards"][n]]
    if expected["acted"] and not observed["acted"]:
        lost.append("One class")
    if lost:
        return wrong(f"{lost[0]} had been allowed by others, and is not any more.", credit=0.5)
    if after.keys() - case["before"] or observed["acted"] != expected["acted"]:
        return wrong("The classes are still allowed after the call.", credit=0.5)
    return RIGHT


def _plain_load(name: str) -> str | None:
    try:
        return str(torch.load(name, weights_only=True)["value"])
    except Exception:
        return None


def _both(expected: Plain, observed: Plain) -> tuple[Any, Any]:
    return expected["outcome"], observed["outcome"]

"""Exercise 03.1: filter, update, load, and say what was left out."""

from typing import Any

import torch
from torch import nn

from course_utils.grading.exercise import RIGHT, Case, Plain, Task, Verdict, wrong
from course_utils.resume.compare import differences

TASK = Task(
    title="Three steps",
    difficulty="easy",
    minutes=8,
    answer="load_what_fits",
    text="""
Write `load_what_fits(model, checkpoint)`. It loads from a dictionary of tensors whatever fits the
model by name **and** shape, and leaves everything else in the model as it is. It returns the sorted
list of the checkpoint's names that were left out.

If nothing at all fits, it raises `ValueError`: silence would be taken for success. The checkpoint's
dictionary must not change: that is worth half.
""",
    hints=(
        "`strict=False` forgives names, never shapes.",
        "Make a new dictionary of what fits; compare with `model.state_dict()`.",
        "Filter, `update` the model's own state with it, `load_state_dict`. Before that: is the "
        "filtered dictionary empty?",
    ),
    starter='''
def load_what_fits(model, checkpoint):
    """Load what fits by name and shape; return the sorted names that were left out."""
    result = model.load_state_dict(checkpoint, strict=False)
    return sorted(result.unexpected_keys)
''',
)


def cases(seed: int) -> list[Case]:
    """Other heads, names too many and too few, and a file of which nothing fits."""
    return [
        {"classes": 3, "saved classes": 3, "extra": ["teacher.weight"], "prefix": ""},
        {"classes": 3, "saved classes": 5, "extra": [], "prefix": ""},
        {"classes": 3, "saved classes": 1, "extra": [], "prefix": ""},
        {"classes": 2 + seed % 3, "saved classes": 7, "extra": ["0.old", "ema"], "prefix": ""},
        {"classes": 3, "saved classes": 3, "extra": [], "prefix": "module."},
        {"classes": 4, "saved classes": 3, "extra": [], "prefix": "", "missing": "0.weight"},
    ]


def probe(answer: Any, case: Case) -> Plain:
    """Return the model's state, the list, whether it raised, and the checkpoint's names."""
    model, saved = _model(case["classes"]), _model(case["saved classes"])
    saved.state_dict()["1.running_mean"].fill_(3.0)
    checkpoint = {case["prefix"] + name: tensor for name, tensor in saved.state_dict().items()}
    checkpoint |= {name: torch.zeros(2) for name in case["extra"]}
    checkpoint.pop(case.get("missing", ""), None)
    try:
        left_out, raised = answer(model, checkpoint), False
    except ValueError:
        left_out, raised = [], True
    return {
        "state": dict(model.state_dict()),
        "saved": dict(saved.state_dict()),
        "left out": left_out,
        "raised": raised,
        "names": list(checkpoint),
    }


def judge(case: Case, observed: Plain, expected: Plain) -> Verdict:
    """Compare the error, the state, the list and the checkpoint, in this order."""
    if observed["raised"] != expected["raised"]:
        if expected["raised"]:
            return wrong("Nothing of the file fits, and there was no ValueError.")
        return wrong("It raised ValueError, but a part of the file fits.")
    different = differences(expected["state"], observed["state"])
    if different:
        name = different[0]
        fits = not differences(expected["state"][name], expected["saved"].get(name))
        return wrong(
            f"{name} fits and was not loaded."
            if fits
            else f"{name} does not come from this file, and yet it has changed."
        )
    if observed["left out"] != expected["left out"]:
        return wrong("The list of what was left out is not right.")
    if observed["names"] != expected["names"]:
        return wrong("The checkpoint's dictionary has changed.", credit=0.5)
    return RIGHT


def _model(classes: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3), nn.Linear(3, classes))

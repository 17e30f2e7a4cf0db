"""Exercise 03.1: filter, update, load, and say what was left out."""

from random import Random
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

NAMES = [f"{layer}.{name}" for layer, name in (
    (0, "weight"), (0, "bias"), (1, "weight"), (1, "bias"), (1, "running_mean"),
    (1, "running_var"), (1, "num_batches_tracked"), (2, "weight"), (2, "bias"),
)]  # fmt: skip


def cases(seed: int) -> list[Case]:
    """Other heads, names too many and too few, and two files of strange names.

    Of one of these a single tensor fits, of the other nothing. Only who compares the names knows
    which it is: both look alike, and at home they had other names.
    """
    rng = Random(seed)
    word = "".join(rng.choices("abcdefghij", k=6))
    strange = [f"{word}.{name}" for name in NAMES]
    fits = rng.randrange(len(NAMES))
    one = [NAMES[fits] if n == fits else name for n, name in enumerate(strange)]
    without = ["" if name == "0.weight" else name for name in NAMES]
    cases: list[Case] = [
        {"classes": 3, "saved classes": 3, "names": NAMES, "extra": ["teacher.weight"]},
        {"classes": 3, "saved classes": 5, "names": NAMES, "extra": []},
        {"classes": 3, "saved classes": 1, "names": NAMES, "extra": []},
        {"classes": 2 + seed % 3, "saved classes": 7, "names": NAMES, "extra": ["0.old", "ema"]},
        {"classes": 3, "saved classes": 3, "names": one, "extra": []},
        {"classes": 3, "saved classes": 3, "names": strange, "extra": []},
        {"classes": 4, "saved classes": 3, "names": without, "extra": []},
    ]
    return [{**case, "seed": seed + number} for number, case in enumerate(cases)]


def probe(answer: Any, case: Case) -> Plain:
    """Load twice from one checkpoint; return both models' states, the lists, and what raised.

    The second model is built like the saved one. What the first call took from the checkpoint, or
    put into it, shows there.
    """
    torch.manual_seed(case["seed"])
    model, saved = _model(case["classes"]), _model(case["saved classes"])
    saved.state_dict()["1.running_mean"].fill_(3.0)
    checkpoint = dict(zip(case["names"], saved.state_dict().values(), strict=True))
    checkpoint |= {name: torch.zeros(2) for name in case["extra"]}
    checkpoint.pop("", None)
    first = _load(answer, model, checkpoint)
    again = _load(answer, _model(case["saved classes"]), checkpoint)
    return {**first, "saved": dict(saved.state_dict()), "again": again}


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
    if differences(expected["again"], observed["again"]):
        return wrong(
            "The checkpoint's dictionary has changed: loaded once more, it gives something else.",
            credit=0.5,
        )
    return RIGHT


def _load(answer: Any, model: nn.Module, checkpoint: dict[str, torch.Tensor]) -> Plain:
    try:
        left_out, raised = answer(model, checkpoint), False
    except ValueError:
        left_out, raised = [], True
    return {"state": dict(model.state_dict()), "left out": left_out, "raised": raised}


def _model(classes: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3), nn.Linear(3, classes))

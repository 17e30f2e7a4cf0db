"""Exercise 03.3: a head for other classes."""

import random
from typing import Any

import torch
from torch import nn

from course_utils.grading.exercise import RIGHT, Case, Plain, Task, Verdict, wrong
from course_utils.resume.compare import differences

TASK = Task(
    title="A head for more classes",
    difficulty="medium",
    minutes=12,
    answer="load_head",
    text="""
A classifier learned some classes. Now it gets more, and a colleague has sorted the list of classes
anew.

Write `load_head(head, saved, old, new)`. `head` is a fresh `nn.Linear` with one row for each name
in `new`; `saved` holds the trained `"weight"` and `"bias"`, one row for each name in `old`. A
class that is in both lists gets its trained row, wherever it stands now; a new class keeps its
fresh values.

An optimizer may already hold the head's parameters, so change their **values** and do not replace
them: that is worth half. Nothing is returned.
""",
    hints=(
        "For each name in `new` that is also in `old`: from which row to which?",
        "The bias has a row for each class, too.",
        "Write into a clone of `head.weight` and load it with `load_state_dict`, or write in place "
        "under `torch.no_grad()`.",
    ),
    starter='''
def load_head(head, saved, old, new):
    """Load the trained rows by the names of their classes."""
    raise NotImplementedError
''',
)


def cases(seed: int) -> list[Case]:
    """More classes at the end, in another order, and some that are gone."""
    rng = random.Random(seed)
    names = ["ant", "bee", "cat", "dog", "eel", "fox"]
    return [
        {"old": ["cat", "dog"], "new": ["cat", "dog", "fox"]},
        {"old": ["cat", "dog", "fox"], "new": ["ant", "cat", "dog", "fox"]},
        {"old": ["cat", "dog", "fox"], "new": ["dog", "bee", "cat"]},
        {"old": rng.sample(names, 4), "new": rng.sample(names, 5)},
    ]


def probe(answer: Any, case: Case) -> Plain:
    """Return the head's rows by class, and what an optimizer made before does to them."""
    saved = {"weight": torch.randn(len(case["old"]), 3), "bias": torch.randn(len(case["old"]))}
    head = nn.Linear(3, len(case["new"]))
    fresh = {name: tensor.clone() for name, tensor in head.state_dict().items()}
    optimizer = torch.optim.SGD(head.parameters(), lr=1.0)
    answer(head, saved, case["old"], case["new"])
    loaded = {name: tensor.clone() for name, tensor in head.state_dict().items()}
    optimizer.zero_grad()
    loss = head(torch.ones(1, 3)).sum()
    if loss.requires_grad:
        loss.backward()
    optimizer.step()
    return {"fresh": fresh, "saved": saved, "head": loaded, "trained": dict(head.state_dict())}


def judge(case: Case, observed: Plain, expected: Plain) -> Verdict:
    """Look at each class's row, in weight and bias."""
    for part in ("weight", "bias"):
        if observed["head"][part].shape != expected["head"][part].shape:
            return wrong(f"The head's {part} has another shape now.")
        for row, name in enumerate(case["new"]):
            came, wanted = observed["head"][part][row], expected["head"][part][row]
            if not torch.equal(came, wanted):
                message = _mistake(case, observed, expected, part, name, came)
                return wrong(message, wanted.tolist(), came.tolist())
    if differences(expected["trained"], observed["trained"]):
        return wrong(
            "The values are right, but the parameters are other objects: an optimizer that holds "
            "the old ones would never train them.",
            credit=0.5,
        )
    return RIGHT


def _mistake(
    case: Case, observed: Plain, expected: Plain, part: str, name: str, came: torch.Tensor
) -> str:
    if name not in case["old"]:
        return f"{name} is a new class: its {part} should keep its fresh values."
    row = case["new"].index(name)
    if torch.equal(came, observed["fresh"][part][row]):
        return f"{name} is a known class, but its {part} was not loaded."
    owners = [o for o, rows in zip(case["old"], expected["saved"][part], strict=True)
              if torch.equal(rows, came)]  # fmt: skip
    return f"The {part} of {name} is {f'that of {owners[0]}' if owners else 'not the trained one'}."

"""Exercise 01.5: an optimizer's state, matched by name."""

import copy
import random
from typing import Any

import torch
from torch import nn

from course_utils.grading.exercise import RIGHT, Case, Plain, Task, Verdict, wrong
from course_utils.resume.compare import differences

TASK = Task(
    title="Match by name",
    difficulty="hard",
    minutes=20,
    answer="load_optimizer",
    text="""
Between the save and today somebody changed the order of the model's layers. The model's weights
are matched by name and load rightly; the optimizer's moments are matched by position and end up
with the wrong parameters, without an error.

Write `load_optimizer(optimizer, saved)`. The optimizer and the one that was saved were both built
with `model.named_parameters()`, so every group of `saved["param_groups"]` has `"param_names"`
beside `"params"`. After it,

- every parameter has the state that was saved under **its name**; one that is new, or had no
  state, has none,
- the groups, the same in number and order, have the saved settings (learning rate, …) and their
  own parameters,
- `saved` is as it was, and **stays** so when the optimizer steps. `Optimizer.load_state_dict`
  does not copy tensors that fit as they are. This last point is worth half.
""",
    hints=(
        "From the saved groups, make a dictionary from each name to its number in "
        "`saved['state']`.",
        "Build a state that fits the optimizer's own numbers, `optimizer.state_dict()` tells "
        "them, and give that to `optimizer.load_state_dict`.",
        "`{**saved_group, 'params': …, 'param_names': …}` keeps a group's settings. Use "
        "`copy.deepcopy` on what you hand over.",
    ),
    starter='''
def load_optimizer(optimizer, saved):
    """Load an optimizer's state by the names of its parameters."""
    optimizer.load_state_dict(saved)
''',
)


def cases(seed: int) -> list[Case]:
    """From group to names, as saved and as now; every parameter has the same shape."""
    rng = random.Random(seed)
    mixed = rng.sample(names := ["a", "b", "c", "d", "e"], 5)
    while mixed == names:
        rng.shuffle(mixed)
    return [
        {"saved": saved, "now": now, "unused": unused, "scale": 1 + rng.random()}
        for saved, now, unused in (
            ([["a", "b", "c"]], [["c", "a", "b"]], []),
            ([["a", "b"], ["c", "d"]], [["b", "a"], ["d", "c"]], []),
            ([["a", "b", "c"]], [["a", "new", "c"]], []),
            ([["a", "b", "c"]], [["b", "c", "a"]], ["b"]),
            ([names[:3], names[3:]], [mixed[:2], mixed[2:]], []),
        )
    ]


def probe(answer: Any, case: Case) -> Plain:
    """Return state and groups after loading, then what a step makes of parameters and `saved`.

    A step that is prevented, so that `saved` stays as it was, shows in the parameters.
    """
    old = {name: nn.Parameter(torch.zeros(2)) for group in case["saved"] for name in group}
    before = _optimizer(case["saved"], old, lr=0.02)
    for number, (name, parameter) in enumerate(old.items()):
        if name not in case["unused"]:
            parameter.grad = torch.full((2,), case["scale"] + number)
    before.step()
    saved = copy.deepcopy(before.state_dict())
    new = {name: nn.Parameter(torch.zeros(2)) for group in case["now"] for name in group}
    optimizer = _optimizer(case["now"], new, lr=0.5)
    answer(optimizer, saved)
    seen = {
        "state": {name: dict(optimizer.state.get(p, {})) for name, p in new.items()},
        "groups": copy.deepcopy(optimizer.state_dict()["param_groups"]),
    }
    seen = copy.deepcopy(seen)
    _step(new, optimizer)
    return {**seen, "saved": saved, "stepped": {name: p.detach() for name, p in new.items()}}


def judge(case: Case, observed: Plain, expected: Plain) -> Verdict:
    """Say whose moments a parameter has; a state that moves is worth half."""
    for name, wanted in expected["state"].items():
        came = observed["state"].get(name)
        if not differences(wanted, came):
            continue
        owner = [n for n, state in expected["state"].items() if not differences(state, came)]
        if not wanted:
            return wrong(f"{name} had no state when it was saved, but has one now.")
        if not came:
            return wrong(f"The state of {name} was not loaded.")
        whose = f"that of {owner[0]}" if owner else "another"
        return wrong(f"{name} should have the state saved under its name, and has {whose}.")
    if differences(expected["groups"], observed["groups"]):
        place = differences(expected["groups"], observed["groups"])[0]
        return wrong(f"The groups are not right: {place} differs.")
    if differences(expected["stepped"], observed["stepped"]):
        return wrong("All is loaded, but the optimizer's next step goes elsewhere.")
    if differences(expected["saved"], observed["saved"]):
        return wrong(
            "All is loaded rightly, but `saved` changes when the optimizer steps: the tensors are "
            "shared.",
            credit=0.5,
        )
    return RIGHT


def _optimizer(
    groups: list[list[str]], parameters: dict[str, nn.Parameter], lr: float
) -> torch.optim.Optimizer:
    named = [{"params": [(name, parameters[name]) for name in names]} for names in groups]
    optimizer = torch.optim.Adam(named, lr=lr)
    for number, group in enumerate(optimizer.param_groups):
        group["weight_decay"] = lr * number
    return optimizer


def _step(parameters: dict[str, nn.Parameter], optimizer: torch.optim.Optimizer) -> None:
    for parameter in parameters.values():
        parameter.grad = torch.ones(2)
    optimizer.step()

"""Exercise 03.2: take off what wrappers put in front of every name."""

import random
from typing import Any

import torch

from course_utils.grading.exercise import RIGHT, Case, Plain, Task, Verdict, wrong

TASK = Task(
    title="Nested prefixes",
    difficulty="medium",
    minutes=10,
    answer="strip",
    text="""
`DataParallel` and `DistributedDataParallel` put `module.` in front of every name, `torch.compile`
puts `_orig_mod.`, and both happen together, in either order and more than once.

Write `strip(state)`. It returns a dictionary with the same tensors in the same order, without the
prefixes of wrappers. A wrapper marks **every** name of the file: where only some names begin with
`module.`, the model really has a part of that name, and it stays. So does `module` further inside a
name.
""",
    hints=(
        "What does `str.lstrip('module.')` do to the name `module.model.weight`?",
        "`str.removeprefix` takes off one prefix, at the start, once. Repeat it while every name "
        "has a prefix.",
        "Take off one wrapper from all names, and call `strip` again with the result.",
    ),
    starter='''
def strip(state):
    """Return the state without the prefixes of wrappers."""
    return {name.replace("module.", ""): tensor for name, tensor in state.items()}
''',
)


def cases(seed: int) -> list[Case]:
    """Names as they are found in files."""
    rng = random.Random(seed)
    wrappers = "".join(rng.choices(["module.", "_orig_mod."], k=4))
    names = ["encoder.module.weight", "model.bias", "module_list.0.weight"]
    return [
        {"names": ["module.features.weight", "module.model.weight", "module.head.bias"]},
        {"names": ["_orig_mod.module.head.weight", "_orig_mod.module.head.bias"]},
        {"names": ["module._orig_mod.module.head.weight", "module._orig_mod.module.head.bias"]},
        {"names": ["module.adapter.module.weight", "module.head._orig_mod.bias"]},
        {"names": ["module.weight", "head.weight", "head.bias"]},
        {"names": ["module.module.weight", "module.head.weight"]},
        {"names": [wrappers + name for name in names]},
        {"names": ["features.weight", "head.bias"]},
        {"names": []},
    ]


def probe(answer: Any, case: Case) -> Plain:
    """Return the new names and the number of each tensor."""
    state = {name: torch.tensor(number) for number, name in enumerate(case["names"])}
    stripped = answer(dict(state))
    return {"names": list(stripped), "tensors": [int(tensor) for tensor in stripped.values()]}


def judge(case: Case, observed: Plain, expected: Plain) -> Verdict:
    """Name a prefix that is left, or a part of a name that is gone."""
    if observed == expected:
        return RIGHT
    shown = expected["names"], observed["names"]
    if len(observed["names"]) != len(expected["names"]):
        return wrong("Names were lost: two became the same.", *shown)
    for old, wanted, came in zip(case["names"], *shown, strict=True):
        if came == wanted:
            continue
        if len(came) > len(wanted):
            return wrong(f"{old} still has the prefix of a wrapper.", *shown)
        if wanted == old:
            return wrong(f"{old} has lost a part that belongs to the model.", *shown)
        return wrong(f"{old} has lost more than the wrappers' prefixes.", *shown)
    return wrong("The names are right, but their tensors are in another order.")

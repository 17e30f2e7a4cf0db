"""Exercise 10.2: the model's own weights, out of a framework's checkpoint."""

from typing import Any

import torch
from torch import Tensor

from course_utils.grading.exercise import RIGHT, Case, Observation, Plain, Task, Verdict, wrong
from course_utils.grading.sandbox.parcels import loaded, place, saved
from course_utils.resume.compare import differences

TASK = Task(
    title="Out of the wrapper",
    difficulty="medium",
    minutes=12,
    answer="weights_of",
    text="""
In a checkpoint of Lightning, `checkpoint["state_dict"]` holds the whole LightningModule. Write
`weights_of(checkpoint, name)`: the `state_dict` of the one module that stood in the attribute
`name`, under the module's own names, in the same order, as a dictionary.

- `torch.compile` may have wrapped the module or a part of it: a part `_orig_mod` of a name belongs
  to the wrapper and goes.
- Other modules, such as `model_ema` beside `model`, stay out.
- Two names of one tensor stay two names of one tensor: nothing is copied.
- No such module: `KeyError`.
""",
    hints=(
        "Cut the name off at the front only: inside, another part may have the same name.",
        "A part of a name ends at a dot: `model_ema.bias` begins with `model`, too.",
        '`key.split(".")` gives the parts. The first is compared, `_orig_mod` left out.',
    ),
    starter='''
def weights_of(checkpoint, name):
    """Return the state_dict of the module in the attribute `name`."""
    return {key.replace(name + ".", ""): value for key, value in checkpoint["state_dict"].items()}
''',
)


def cases(seed: int) -> list[Case]:
    """Others beside it, the same name inside, compiled, tied, one parameter only, none."""
    cases: list[Case] = [
        {"keys": ["model.0.weight", "model.0.bias", "loss.weight"], "name": "model"},
        {"keys": ["model.model.weight", "model.1.bias", "model_ema.weight"], "name": "model"},
        {"keys": ["model._orig_mod.0.weight", "model._orig_mod.0.bias"], "name": "model"},
        {"keys": ["net.body._orig_mod.weight", "net.head.weight", "model.weight"], "name": "net"},
        {"keys": ["net.inner.weight", "other.net.weight"], "name": "net"},
        {"keys": ["net.inner.weight"], "name": "inner"},
        {"keys": ["model_ema.weight"], "name": "model"},
    ]
    return [{**case, "seed": seed + number} for number, case in enumerate(cases)]


def probe(answer: Any, case: Case) -> Plain:
    """Ask for the weights twice: what the first call took away, the second does not find.

    All that end in "weight" are one tensor.
    """
    torch.manual_seed(case["seed"])
    tied = torch.rand(2, 3)
    state: dict[str, Tensor] = {
        key: tied if key.endswith("weight") else torch.rand(2) for key in case["keys"]
    }
    before = list(state.values())
    checkpoint = {"epoch": 1, "global_step": 9, "state_dict": state, "optimizer_states": []}
    try:
        found = answer(checkpoint, case["name"])
    except KeyError:
        return "KeyError"
    try:
        again = list(answer(checkpoint, case["name"]))
    except KeyError:
        again = []
    return saved([dict(found), list(found), before, again])


def read(case: Case, seen: Observation) -> Plain:
    """Return the weights, the names in order, and whether any was copied."""
    if seen.data == "KeyError":
        return "KeyError"
    found, names, before, again = loaded(seen.data)
    places = {place(tensor) for tensor in before}
    copied = any(place(tensor) not in places for tensor in found.values())
    return {"found": found, "names": names, "copied": copied, "again": again}


def judge(case: Case, observed: Plain, expected: Plain) -> Verdict:
    """Names, then values, then memory."""
    if "KeyError" in (observed, expected):
        if observed == expected:
            return RIGHT
        if expected == "KeyError":
            return wrong("There is no such module, and no KeyError.", expected, observed["names"])
        return wrong("The module is there, and a KeyError came.", expected["names"], observed)
    if observed["names"] != expected["names"]:
        if len(observed["names"]) > len(expected["names"]):
            message = "Names came that are of another module."
        else:
            message = "The names are others, or in another order."
        return wrong(message, expected["names"], observed["names"])
    if differences(expected["found"], observed["found"]):
        return wrong("A name has another tensor's values.")
    if observed["copied"]:
        return wrong("Tensors were copied: tied weights are tied no more.", credit=0.5)
    if observed["again"] != expected["again"]:
        return wrong("The checkpoint itself was changed.", credit=0.5)
    return RIGHT

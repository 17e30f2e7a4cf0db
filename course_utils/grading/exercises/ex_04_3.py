"""Exercise 04.3: the optimizer's state follows its parameters."""

import copy
from typing import Any

import torch
from torch import nn

from course_utils.grading.exercise import RIGHT, Case, Plain, Task, Verdict, wrong
from course_utils.resume.compare import differences

TASK = Task(
    title="The optimizer follows",
    difficulty="medium",
    minutes=15,
    answer="follow",
    text="""
A model was moved to another dtype (or device) **after** its optimizer had begun to work, so the
moments stayed behind. Write `follow(optimizer)`: in place, every tensor of the optimizer's state
takes the dtype and device of its parameter.

One entry is special: `step` is a count. It stays as it is, float32 on the CPU.
""",
    hints=(
        "`optimizer.state` is a dictionary from each parameter to its own entries.",
        "Entries differ between optimizers. Go through all that are tensors, whatever they "
        "are called.",
        'Skip the key `"step"`; replace the others by `tensor.to(parameter)`, which takes '
        "device and dtype at once.",
    ),
    starter='''
def follow(optimizer):
    """Bring the optimizer's state to the dtype and device of its parameters, in place."""
    raise NotImplementedError
''',
)
OPTIMIZERS: dict[str, Any] = {
    "Adam": lambda p: torch.optim.Adam(p, lr=0.01),
    "AdamW with amsgrad": lambda p: torch.optim.AdamW(p, lr=0.01, amsgrad=True),
    "SGD with momentum": lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9),
    "SGD": lambda p: torch.optim.SGD(p, lr=0.1),
}


def cases(seed: int) -> list[Case]:
    """Four optimizers, half of them to float64, one to a mixture."""
    return [
        {"optimizer": "Adam", "to": ["float64", "float64"], "seed": seed},
        {"optimizer": "AdamW with amsgrad", "to": ["bfloat16", "float64"], "seed": seed + 1},
        {"optimizer": "SGD with momentum", "to": ["float32", "float64"], "seed": seed + 2},
        {"optimizer": "SGD", "to": ["float64", "float32"], "seed": seed + 3},
    ]


def probe(answer: Any, case: Case) -> Plain:
    """Train a step, change the parameters' dtypes, call the answer, look, and train on."""
    torch.manual_seed(case["seed"])
    model = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2))
    optimizer = OPTIMIZERS[case["optimizer"]](model.parameters())
    model(torch.rand(5, 3)).square().sum().backward()
    optimizer.step()
    for layer, dtype in zip(model, case["to"], strict=True):
        layer.to(getattr(torch, dtype))
    returned = answer(optimizer)
    state = {name: dict(optimizer.state[parameter]) for name, parameter in model.named_parameters()}
    seen = {
        "state": {n: {k: v for k, v in e.items() if v is not None} for n, e in state.items()},
        "settings": {k: v for k, v in optimizer.param_groups[0].items() if k != "params"},
    }
    seen = copy.deepcopy(seen)
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)
    try:
        (optimizer if returned is None else returned).step()
        trained: Plain = dict(model.state_dict())
    except Exception as error:
        trained = type(error).__name__
    return {**seen, "weights two steps later": trained}


def judge(case: Case, observed: Plain, expected: Plain) -> Verdict:
    """Say which entry has the wrong dtype, or whether values were lost."""
    for name, entries in expected["state"].items():
        for key, tensor in entries.items():
            came = observed["state"].get(name, {}).get(key)
            if not isinstance(came, torch.Tensor):
                return wrong(f"The entry {key} of {name} is gone.")
            if came.dtype != tensor.dtype:
                special = " It is a count and stays as it was." if key == "step" else ""
                return wrong(
                    f"{key} of {name} has the wrong dtype.{special}", tensor.dtype, came.dtype
                )
    different = differences(expected, observed)
    if different:
        return wrong(f"The dtypes are right, but this has changed: {different[0]}.")
    return RIGHT

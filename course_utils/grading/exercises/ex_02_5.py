"""Exercise 02.5: go on with another learning rate."""

import copy
import math
from typing import Any

import torch
from torch import nn
from torch.optim import lr_scheduler

from course_utils.grading.exercise import RIGHT, Case, Plain, Task, Verdict, wrong
from course_utils.resume.compare import differences

TASK = Task(
    title="The learning rate after a resume",
    difficulty="medium",
    minutes=10,
    answer="resume_scaled",
    text="""
A run diverges. You go back to a checkpoint and want to go on from there with a learning rate that
is, for example, half as large: now, and at every later step of the schedule.

Write `resume_scaled(optimizer, scheduler, checkpoint, factor)`. The checkpoint holds `"optimizer"`
and `"scheduler"`, the `state_dict` of each; optimizer and scheduler are freshly built. After it,
every parameter group has `factor` times the learning rate it would have had, at once and after each
later `scheduler.step()`. Nothing is returned.

The schedule may be any of `LambdaLR`, `StepLR` and `CosineAnnealingLR`.
""",
    hints=(
        "Loading overwrites what was set before: load both, change last.",
        "Some schedulers multiply the learning rate they find. `LambdaLR` computes it from its own "
        "starting values and overwrites yours.",
        "`scheduler.base_lrs` holds those starting values, one for each group. A cosine holds one "
        "rate more: at which does it end?",
    ),
    starter='''
def resume_scaled(optimizer, scheduler, checkpoint, factor):
    """Continue from the checkpoint with `factor` times its learning rates."""
    raise NotImplementedError
''',
)


def cases(seed: int) -> list[Case]:
    """Three kinds of schedule, two groups with different learning rates."""
    common = {"lr": [0.1, 0.01], "steps before": 3, "steps after": 4}
    factor = 0.25 + seed % 7 / 10
    return [
        {**common, "schedule": "StepLR", "factor": 0.5},
        {**common, "schedule": "CosineAnnealingLR", "factor": 0.1},
        {**common, "schedule": "LambdaLR", "factor": 0.5},
        {**common, "schedule": "LambdaLR", "factor": factor, "steps before": 2 + seed % 3},
    ]


def probe(answer: Any, case: Case) -> Plain:
    """Return learning rates and the optimizer's state after the resume, and later rates."""
    optimizer, scheduler = _parts(case)
    for _ in range(case["steps before"]):
        optimizer.step()
        scheduler.step()
    checkpoint = copy.deepcopy(
        {"optimizer": optimizer.state_dict(), "scheduler": scheduler.state_dict()}
    )
    optimizer, scheduler = _parts(case)
    answer(optimizer, scheduler, checkpoint, case["factor"])
    state = copy.deepcopy(optimizer.state_dict()["state"])
    rates, place = [_rates(optimizer)], scheduler.last_epoch
    for _ in range(case["steps after"]):
        optimizer.step()
        scheduler.step()
        rates.append(_rates(optimizer))
    return {"state": state, "place": place, "rates": rates}


def judge(case: Case, observed: Plain, expected: Plain) -> Verdict:
    """Look at the state, the place in the schedule, the rates now, the rates later."""
    came, wanted = observed["rates"], expected["rates"]
    shown = _show(wanted), _show(came)
    if differences(expected["state"], observed["state"]):
        return wrong("The optimizer's own state, its momentum, is not that of the checkpoint.")
    if observed["place"] != expected["place"]:
        return wrong("The scheduler is at another place of its schedule.", *shown)
    if all(map(_same, came, wanted)):
        return RIGHT
    if _same(came[0], [rate / case["factor"] for rate in wanted[0]]):
        return wrong("The first step still has the checkpoint's learning rates.", *shown)
    if came[0][0] == came[0][1]:
        return wrong("Both groups have the same learning rate now.", *shown)
    if not _same(came[0], wanted[0]):
        return wrong("The learning rates right after the resume are others.", *shown)
    return wrong("Right at first; then the scheduler wrote its own learning rates again.", *shown)


def _parts(case: Case) -> tuple[torch.optim.Optimizer, Any]:
    layers = [nn.Linear(2, 2), nn.Linear(2, 1)]
    for layer in layers:
        for parameter in layer.parameters():
            parameter.grad = torch.ones_like(parameter)
    groups = [
        {"params": list(layer.parameters()), "lr": lr}
        for layer, lr in zip(layers, case["lr"], strict=True)
    ]
    optimizer = torch.optim.SGD(groups, momentum=0.9)
    schedule = case["schedule"]
    if schedule == "LambdaLR":
        return optimizer, lr_scheduler.LambdaLR(optimizer, lambda step: 1 / (1 + step))
    if schedule == "StepLR":
        return optimizer, lr_scheduler.StepLR(optimizer, step_size=2, gamma=0.5)
    return optimizer, lr_scheduler.CosineAnnealingLR(optimizer, T_max=10, eta_min=0.002)


def _rates(optimizer: torch.optim.Optimizer) -> list[float]:
    return [float(group["lr"]) for group in optimizer.param_groups]


def _same(left: list[float], right: list[float]) -> bool:
    return all(math.isclose(a, b, rel_tol=1e-6) for a, b in zip(left, right, strict=True))


def _show(rates: list[list[float]]) -> str:
    return "learning rates " + ", ".join(f"[{a:.4g}, {b:.4g}]" for a, b in rates)

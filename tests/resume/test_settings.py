"""Whose settings count, and which of them are spoken of."""

import warnings

import pytest
import torch
from torch import nn
from torch.optim import lr_scheduler

from course_utils.resume import TrainState
from course_utils.resume.settings import changes

QUIET = pytest.mark.filterwarnings("ignore")


def run(lr, **more):
    model = nn.Linear(2, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=lr)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 3, gamma=0.5)
    return TrainState(model, optimizer, scheduler=scheduler, **more)


@QUIET
def test_a_scheduler_that_is_kept_still_starts_from_the_optimizer_that_is_not():
    saved, here = run(0.1), run(0.2)
    here.load_state_dict(saved.state_dict(), keep=["scheduler"])
    assert here.scheduler.base_lrs == [0.1]
    assert here.scheduler.get_last_lr() == [0.1]


@QUIET
def test_a_schedule_changed_by_hand_stays_where_its_optimizer_is_not_the_one_kept():
    def two():
        head = nn.Linear(2, 1)
        return run(0.1, head=head, second=torch.optim.SGD(head.parameters(), lr=0.3))

    saved, here = two(), two()
    saved.scheduler.base_lrs = [0.5]
    here.load_state_dict(saved.state_dict(), keep=["second"])
    assert here.scheduler.base_lrs == [0.5]


def test_only_settings_that_both_have_are_compared():
    assert changes({"o": [{"lr": 1, "old": 2}]}, {"o": [{"lr": 1, "new": 3}]}, ()) == []


def test_private_settings_are_not_spoken_of():
    assert changes({"s": {"_mark": 1, "gamma": 1}}, {"s": {"_mark": 2, "gamma": 1}}, ()) == []


SCHEDULERS = {
    "T_max": lambda optimizer, changed: lr_scheduler.SequentialLR(
        optimizer,
        [
            lr_scheduler.ConstantLR(optimizer),
            lr_scheduler.CosineAnnealingLR(optimizer, 20 if changed else 10),
        ],
        [2],
    ),
    "_anneal_strategy": lambda optimizer, changed: torch.optim.swa_utils.SWALR(
        optimizer, 0.1, anneal_strategy="cos" if changed else "linear"
    ),
    "_anneal_func_type": lambda optimizer, changed: lr_scheduler.OneCycleLR(
        optimizer, 0.1, 10, anneal_strategy="cos" if changed else "linear"
    ),
}


@QUIET
@pytest.mark.parametrize("name", SCHEDULERS)
def test_a_changed_schedule_is_spoken_of_also_inside_another(name):
    def built(changed):
        model = nn.Linear(2, 1)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        return TrainState(model, optimizer, scheduler=SCHEDULERS[name](optimizer, changed))

    with pytest.warns(UserWarning, match=rf"scheduler.*{name} is .* in the checkpoint and"):
        built(True).load_state_dict(built(False).state_dict())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        built(True).load_state_dict(built(True).state_dict())


def test_what_all_groups_have_changed_is_said_once():
    saved, here = ({"o": [{"lr": lr}, {"lr": lr}]} for lr in (0.1, 0.2))
    (line,) = changes(saved, here, ())
    assert "lr is 0.1 in the checkpoint and 0.2 here" in line


def test_nothing_is_said_of_equal_runs():
    saved, here = run(0.1), run(0.1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        here.load_state_dict(saved.state_dict(), keep=["scheduler", "optimizer"])

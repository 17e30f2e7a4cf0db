"""What few runs have, and would miss: each of these is dropped by a change of one line."""

import copy
import random

import numpy as np
import pytest
import torch
from extra_states import Keeps
from torch import nn
from torch.optim import lr_scheduler as schedules

from course_utils.checkpoint import load_checkpoint, save_checkpoint
from course_utils.errors import MismatchedCheckpointError
from course_utils.resume import TrainState, differences, seed_everything


def new_state(seed=0, model=None, make=torch.optim.SGD, **parts):
    seed_everything(seed)
    model = model() if model else nn.Linear(2, 2)
    return TrainState(model, make(model.parameters(), lr=0.1), **parts)


def train(state, steps=1):
    for _ in range(steps):
        for parameter in state.model.parameters():
            parameter.grad = torch.ones_like(parameter)
        state.optimizer.step()
        state.optimizer.zero_grad()
    return state


class Versioned(nn.Linear):
    """A layer that asks a state for its version, as BatchNorm does."""

    _version = 3

    def __init__(self):
        super().__init__(2, 2)
        self.found = None

    def _load_from_state_dict(self, state, prefix, metadata, *others):
        self.found = metadata.get("version")
        super()._load_from_state_dict(state, prefix, metadata, *others)


def test_a_layer_is_told_the_version_that_its_state_was_saved_with(tmp_path):
    save_checkpoint(tmp_path / "state.pt", new_state(model=Versioned).state_dict())
    again = new_state(9, Versioned)
    again.load_state_dict(load_checkpoint(tmp_path / "state.pt"))
    assert again.model.found == 3


class InPlace(torch.optim.SGD):
    """An optimizer that writes into what it has, as one on a GPU with graphs does."""

    def load_state_dict(self, state):
        for number, parameter in enumerate(self.param_groups[0]["params"]):
            moments = state["state"][number]["momentum_buffer"]
            self.state[parameter]["momentum_buffer"].copy_(moments)


class Fails:
    """A part that cannot be restored."""

    def state_dict(self):
        return {}

    def load_state_dict(self, state):
        raise OSError("gone")


class FailsLast(Fails):
    """One that is restored after the optimizer."""

    optimizer = None


@pytest.mark.parametrize("kind", [InPlace, torch.optim.SGD])
def test_an_optimizer_that_writes_in_place_is_put_back_too(kind):
    def new(seed, scheduler):
        state = new_state(seed, make=lambda p, lr: kind(p, lr=lr, momentum=0.9))
        return train(TrainState(state.model, state.optimizer, scheduler=scheduler), seed)

    saved, victim = new(1, FailsLast()).state_dict(), new(5, FailsLast())
    before = copy.deepcopy(victim.state_dict())
    with pytest.raises(MismatchedCheckpointError, match=r"scheduler could not .*gone"):
        victim.load_state_dict(saved)
    assert differences(before, victim.state_dict()) == []
    assert differences(saved["optimizer"]["state"], before["optimizer"]["state"])


def test_moments_of_a_parameter_that_is_not_there_are_refused():
    saved = copy.deepcopy(train(new_state(make=torch.optim.Adam)).state_dict())
    saved["optimizer"]["state"][99] = saved["optimizer"]["state"][0]
    with pytest.raises(MismatchedCheckpointError, match=r"optimizer\.state\.99 belongs to no"):
        new_state(9, make=torch.optim.Adam).load_state_dict(saved)


class Twins(nn.Module):
    """Two names that are one without what wrappers add."""

    def __init__(self):
        super().__init__()
        self.a = nn.ModuleDict({"module": nn.Linear(2, 2)})
        self.a.weight = nn.Parameter(torch.randn(2, 2))


def test_names_that_are_one_without_wrappers_are_kept_apart():
    saved, again = copy.deepcopy(new_state(model=Twins).state_dict()), new_state(9, Twins)
    assert differences(saved["model"]["a.weight"], saved["model"]["a.module.weight"])
    again.load_state_dict(saved)
    assert differences(saved, again.state_dict()) == []


def test_a_kept_learning_rate_reaches_schedulers_inside_others():
    def new(lr, seed=0):
        model = nn.Linear(2, 2)
        optimizer = torch.optim.SGD(model.parameters(), lr=lr)
        inside = [schedules.LambdaLR(optimizer, lambda step: 0.5**step) for _ in range(2)]
        scheduler = schedules.SequentialLR(optimizer, inside, [50])
        return TrainState(model, optimizer, scheduler=scheduler)

    saved, other = new(0.1).state_dict(), new(0.2, seed=9)
    with pytest.warns(UserWarning, match="lr is 0.1 in the checkpoint and 0.2 here; this run's"):
        other.load_state_dict(saved, keep=["optimizer"])
    train(other)
    other.scheduler.step()
    assert other.optimizer.param_groups[0]["lr"] == pytest.approx(0.1)  # half of 0.2


@pytest.mark.parametrize("name", ["reader", "scheduler", "sampler", "scaler"])
def test_numbers_that_a_part_draws_when_it_is_restored_are_not_missed(name):
    class Draws:
        def state_dict(self):
            return {}

        def load_state_dict(self, state):
            torch.rand(1)

    saved = copy.deepcopy(new_state(**{name: Draws()}).state_dict())
    new_state(9, **{name: Draws()}).load_state_dict(saved)
    assert torch.equal(torch.get_rng_state(), saved["rng"]["torch"])


@pytest.mark.parametrize(
    ("make", "draw"),
    [
        (lambda seed: torch.Generator().manual_seed(seed), lambda g: torch.rand(3, generator=g)),
        (np.random.default_rng, lambda g: torch.from_numpy(g.normal(size=3))),
        (
            lambda seed: np.random.Generator(np.random.MT19937(seed)),
            lambda g: torch.from_numpy(g.integers(0, 9, 3, dtype=np.int16)),
        ),
        (
            lambda seed: np.random.Generator(np.random.Philox(seed)),
            lambda g: torch.from_numpy(g.normal(size=3)),
        ),
        (
            lambda seed: np.random.Generator(np.random.SFC64(seed)),
            lambda g: torch.from_numpy(g.normal(size=3)),
        ),
        (np.random.RandomState, lambda g: torch.from_numpy(g.normal(size=3))),
        (random.Random, lambda g: torch.tensor([g.gauss(0, 1) for _ in range(3)])),
    ],
    ids=["torch", "PCG64", "MT19937", "Philox", "SFC64", "RandomState", "python"],
)
def test_a_generator_of_ones_own_goes_on_where_it_is(tmp_path, make, draw):
    generator, other = make(1), make(2)
    draw(generator)
    save_checkpoint(tmp_path / "state.pt", new_state(own=generator).state_dict())
    new_state(9, own=other).load_state_dict(load_checkpoint(tmp_path / "state.pt"))
    assert torch.equal(draw(other), draw(generator))


def test_a_tensor_that_has_grown_comes_back_at_its_size():
    state = new_state(losses=torch.empty(0))
    state.parts["losses"] = torch.tensor([3.0, 2.0])
    again = new_state(9, losses=torch.empty(0))
    with pytest.warns(UserWarning, match=r"losses is \(2,\) in the checkpoint, \(0,\) here"):
        again.load_state_dict(state.state_dict())
    assert torch.equal(again.parts["losses"], torch.tensor([3.0, 2.0]))


def test_a_grown_tensor_is_put_back_if_another_part_fails():
    saved = new_state(losses=torch.ones(2), scheduler=Fails()).state_dict()
    mine = torch.zeros(0)
    victim = new_state(9, losses=mine, scheduler=FailsLast())
    with pytest.raises(MismatchedCheckpointError, match="gone"):
        victim.load_state_dict(saved)
    assert victim.parts["losses"] is mine


def test_a_parameter_of_another_shape_is_refused():
    saved = new_state(mine=nn.Parameter(torch.ones(2))).state_dict()
    with pytest.raises(MismatchedCheckpointError, match="mine: shape"):
        new_state(9, mine=nn.Parameter(torch.ones(3))).load_state_dict(saved)


EXTRAS = {
    "nothing": None,
    "a number": 3,
    "a tensor": torch.ones(2),
    "a larger one": torch.zeros(3, dtype=torch.int64),
    "a dictionary": {"a": torch.ones(1), "b": {"c": 2}},
    "an empty one": {},
}


@pytest.mark.parametrize("here", EXTRAS)
@pytest.mark.parametrize("there", EXTRAS)
def test_an_extra_state_may_be_anything_on_either_side(there, here):
    saved = copy.deepcopy(new_state(model=lambda: Keeps(EXTRAS[there])).state_dict())
    again = new_state(9, lambda: Keeps(EXTRAS[here]))
    again.load_state_dict(saved)
    assert differences(saved, again.state_dict()) == []


def test_a_layer_that_has_no_extra_state_here_is_another_one():
    saved = new_state(model=Keeps).state_dict()
    with pytest.raises(MismatchedCheckpointError, match=r"model\._extra_state is in the checkp"):
        new_state(9).load_state_dict(saved)

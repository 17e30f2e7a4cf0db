"""What few runs have, and would miss: each of these is dropped by a change of one line."""

import collections
import copy
import random
import warnings

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


NEW_SCHEDULES = {
    "StepLR": lambda o: schedules.StepLR(o, 2),
    "LambdaLR": lambda o: schedules.LambdaLR(o, lambda step: 0.5**step),
    "OneCycleLR": lambda o: schedules.OneCycleLR(o, 1.0, total_steps=9),
    "CyclicLR": lambda o: schedules.CyclicLR(o, 0.01, 0.1),
    "SWALR": lambda o: torch.optim.swa_utils.SWALR(o, 0.05),
}


def momentum(seed=0, schedule=None):
    state = new_state(seed, make=lambda p, lr: torch.optim.SGD(p, lr=lr, momentum=0.9))
    scheduler = schedule(state.optimizer) if schedule else None
    return TrainState(state.model, state.optimizer, scheduler=scheduler)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("keep", [["scheduler"], ["scheduler", "optimizer"]], ids="-".join)
@pytest.mark.parametrize("kind", NEW_SCHEDULES)
def test_a_scheduler_that_is_new_here_goes_on_with_what_it_has_put_into_groups(kind, keep):
    saved = copy.deepcopy(train(momentum()).state_dict())
    again, alone = (momentum(9, NEW_SCHEDULES[kind]) for _ in range(2))
    before = again.optimizer.param_groups[0].keys()
    again.load_state_dict(saved, keep=keep)
    assert again.optimizer.param_groups[0].keys() == before
    for state in (again, alone):
        for _ in range(3):
            train(state)
            state.scheduler.step()
    if len(keep) == 2:  # its learning rates, too
        assert again.scheduler.get_last_lr() == alone.scheduler.get_last_lr()
    momentum(8, NEW_SCHEDULES[kind]).load_state_dict(again.state_dict())


@pytest.mark.parametrize("kind", NEW_SCHEDULES)
def test_what_a_scheduler_that_is_passed_over_left_in_groups_is_no_other_kind_of_optimizer(kind):
    saved = copy.deepcopy(momentum(0, NEW_SCHEDULES[kind]).state_dict())
    again = momentum(9)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        again.load_state_dict(saved, keep=["scheduler"])
    assert not any("no setting" in str(warning.message) for warning in caught)


def test_what_a_scheduler_here_has_put_into_groups_is_no_setting_that_the_file_lacks():
    saved = copy.deepcopy(momentum().state_dict())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        momentum(9, NEW_SCHEDULES["StepLR"]).load_state_dict(saved, keep=["scheduler"])


def test_containers_in_an_optimizers_state_keep_their_kind():
    """`Optimizer.load_state_dict` makes a dict of every dictionary, and a new text of a text."""
    first, again = new_state(), new_state(9)
    entry = {
        "kind": "own",
        "digest": b"ab",
        "seen": collections.Counter("aab"),
        "order": collections.OrderedDict(a=torch.ones(2, dtype=torch.float64)),
        "both": (torch.ones(2, dtype=torch.float64), [torch.ones(1, dtype=torch.int8)]),
    }
    first.optimizer.state[first.model.weight] = entry
    again.load_state_dict(copy.deepcopy(first.state_dict()))
    found = again.optimizer.state[again.model.weight]
    assert differences(entry, found) == []
    assert [type(value) for value in found.values()] == [type(value) for value in entry.values()]


def test_a_state_of_no_parameter_comes_back():
    first, again = new_state(), new_state(9)
    first.optimizer.state["all"] = {"count": 3}
    again.load_state_dict(copy.deepcopy(first.state_dict()))
    assert again.optimizer.state["all"] == {"count": 3}


class Adds(torch.optim.SGD):
    """An optimizer that makes up for what a state of an earlier build lacks."""

    def load_state_dict(self, state):
        super().load_state_dict(state)
        for entry in self.state.values():
            entry.setdefault("count", 0)


def test_what_an_optimizer_adds_when_it_loads_stays():
    def new(kind):
        state = new_state(make=lambda p, lr: kind(p, lr=lr, momentum=0.9))
        return train(state)

    again = new(Adds)
    again.load_state_dict(copy.deepcopy(new(torch.optim.SGD).state_dict()))
    entries = [again.optimizer.state[p] for p in again.model.parameters()]
    assert [entry["count"] for entry in entries] == [0, 0]
    assert all(entry["momentum_buffer"].any() for entry in entries)


@pytest.mark.parametrize("part", ["model", "optimizer", "scheduler", "scaler", "rng"])
def test_a_part_that_is_no_dictionary_is_named_as_that(part):
    def new():
        state = new_state()
        scheduler = schedules.StepLR(state.optimizer, 2)
        scaler = torch.amp.GradScaler("cpu")
        return TrainState(state.model, state.optimizer, scheduler=scheduler, scaler=scaler)

    saved = {**new().state_dict(), part: [1]}
    with pytest.raises(MismatchedCheckpointError, match=f"- {part} is a list, not a dictionary"):
        new().load_state_dict(saved)


@pytest.mark.parametrize("off", [None, False])
def test_a_setting_that_is_off_is_said_once_and_left_out(off):
    def new():
        model = nn.Linear(2, 2)
        return TrainState(model, torch.optim.SGD([{"params": [p]} for p in model.parameters()]))

    saved, again = copy.deepcopy(new().state_dict()), new()
    for group in saved["optimizer"]["param_groups"]:
        group["new_in_2_16"] = off
        del group["foreach"]
    with pytest.warns(UserWarning, match="no setting new_in_2_16") as caught:
        again.load_state_dict(saved)
    assert str(caught[0].message).count("no setting") == 1
    assert str(caught[0].message).count("foreach") == 1
    assert "new_in_2_16" not in again.optimizer.param_groups[1]
    for group in saved["optimizer"]["param_groups"]:
        group["new_in_2_16"] = 1
    with pytest.raises(MismatchedCheckpointError) as raised:
        new().load_state_dict(saved)
    assert str(raised.value).count("another kind of optimizer") == 1

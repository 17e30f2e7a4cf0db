"""Any number of parts, each saved, checked, restored, and put back when another one fails."""

import argparse
import collections
import copy
import random
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.optim import lr_scheduler as schedules
from torch.optim.swa_utils import SWALR
from torch.utils.data import DataLoader

from course_utils.checkpoint import load_checkpoint, save_checkpoint
from course_utils.errors import CheckpointWriteError, MismatchedCheckpointError
from course_utils.resume import ResumableSampler, TrainState, differences, seed_everything

ROWS = torch.randn(8, 4, generator=torch.Generator().manual_seed(0))


def new_state(seed=0, make=torch.optim.AdamW, **parts):
    seed_everything(seed)
    model = nn.Sequential(nn.Linear(4, 3), nn.Linear(3, 2))
    return TrainState(model, make(model.parameters(), lr=0.1), **parts)


def step(state, rows=ROWS, backward=1):
    for _ in range(backward):
        state.model(rows).square().mean().backward()
    state.optimizer.step()
    state.optimizer.zero_grad()
    state.step += 1


def through_a_file(state, path):
    save_checkpoint(path / "state.pt", state.state_dict())
    return load_checkpoint(path / "state.pt")


def restored(saved, **parts):
    state = new_state(seed=9, **parts)
    state.load_state_dict(saved)
    return state


# Parts of one's own


class Gan:
    """Two networks and two optimizers; a temperature that is in neither."""

    def __init__(self, seed=0):
        seed_everything(seed)
        self.generator, self.critic = nn.Linear(4, 4), nn.Linear(4, 1)
        self.temperature = nn.Parameter(torch.ones(1))
        first = torch.optim.Adam([*self.generator.parameters(), self.temperature], lr=0.1)
        second = torch.optim.RMSprop(self.critic.parameters(), lr=0.1)
        self.state = TrainState(
            self.generator,
            first,
            scheduler=schedules.ExponentialLR(first, 0.9),
            critic=self.critic,
            critic_optimizer=second,
            critic_scheduler=schedules.StepLR(second, 2),
            temperature=self.temperature,
            tokens=0,
            config={"lr": 0.1, "layers": [4, 4], "name": "tiny"},
        )

    def step(self):
        loss = self.critic(self.generator(ROWS) * self.temperature).square().mean()
        loss.backward()
        for name in ("critic_optimizer", "critic_scheduler"):
            self.state.parts[name].step()
        self.state.optimizer.step()
        self.state.scheduler.step()
        for parameters in (self.generator.parameters(), self.critic.parameters()):
            for parameter in parameters:
                parameter.grad = None
        self.temperature.grad = None
        self.state.parts["tokens"] += np.int64(8)
        self.state.step += 1


def test_two_networks_two_optimizers_and_entries_of_ones_own(tmp_path):
    straight = Gan()
    for _ in range(3):
        straight.step()
    saved = through_a_file(straight.state, tmp_path)
    again = Gan(seed=9)
    again.state.parts["config"] = None
    again.state.load_state_dict(saved)
    assert again.state.parts["tokens"] == 24
    assert type(again.state.parts["tokens"]) is np.int64
    assert again.state.parts["config"] == {"lr": 0.1, "layers": [4, 4], "name": "tiny"}
    for run in (straight, again):
        run.step()
    assert differences(straight.state.state_dict(), again.state.state_dict()) == []


GAN_PARTS = ["critic", "temperature", "tokens", "config", "scheduler"]
GAN_PARTS += ["critic_optimizer", "critic_scheduler"]


@pytest.mark.parametrize("part", GAN_PARTS)
def test_without_any_part_the_run_is_another(part):
    straight, other = Gan(), Gan(seed=9)
    straight.step()
    straight.step()
    saved, fresh = copy.deepcopy(straight.state.state_dict()), other.state.state_dict()
    saved[part] = {} if part == "config" else fresh[part]
    other.state.load_state_dict(saved)
    for run in (straight, other):
        run.step()
    assert differences(straight.state.state_dict(), other.state.state_dict())


@pytest.mark.parametrize("part", GAN_PARTS)
def test_a_part_that_is_not_in_the_file_is_refused_unless_the_one_here_is_to_be_kept(part):
    saved = copy.deepcopy(Gan().state.state_dict())
    del saved[part]
    again = Gan(seed=9)
    with pytest.raises(MismatchedCheckpointError, match=f"- {part} is not in the checkpoint"):
        again.state.load_state_dict(saved)
    before = copy.deepcopy(again.state.state_dict()[part])
    again.state.load_state_dict(saved, keep=[part])
    assert differences(before, again.state.state_dict()[part]) == []
    assert differences(saved["model"], again.state.state_dict()["model"]) == []


def test_a_part_that_has_no_place_here_is_named_with_the_remedy():
    saved = {**new_state().state_dict(), "config": {}}
    with pytest.raises(MismatchedCheckpointError, match=r"config is .*TrainState\(…, config=…\)"):
        new_state().load_state_dict(saved)


@pytest.mark.parametrize("name", ["rng", "step", "about", "gradients", "parameter_order"])
def test_names_that_are_taken(name):
    with pytest.raises((ValueError, TypeError), match=name):
        new_state(**{name: 1})


class Place:
    """A position in the data, as a library would have it."""

    def __init__(self, fails=False):
        self.at, self.fails = 0, fails

    def state_dict(self):
        return {"at": self.at}

    def load_state_dict(self, state):
        self.at = state["at"]
        if self.fails:
            raise KeyError("shard 7 is gone")


# All or nothing


def test_a_restore_is_undone_to_the_last_part_if_one_fails(tmp_path):
    def new(seed, fails=False):
        state = new_state(seed, place=Place(), tokens=1, temperature=torch.ones(2))
        state.parts["last"] = Place(fails)
        state.scheduler = schedules.StepLR(state.optimizer, 2)
        state.ema = torch.optim.swa_utils.AveragedModel(state.model)
        state.sampler = ResumableSampler(10)
        return state

    first = new(0)
    step(first)
    first.parts["place"].at, first.parts["tokens"] = 3, 5
    first.parts["temperature"] += 1
    first.sampler.advance(4)
    first.ema.update_parameters(first.model)
    first.model(ROWS).mean().backward()
    saved = through_a_file(first, tmp_path)

    victim = new(9)
    step(victim)
    victim.model(2 * ROWS).mean().backward()
    for part in [*victim._kinds(), None]:  # each in turn is the one that fails, then none
        before = copy.deepcopy(victim.state_dict())
        drawn = torch.get_rng_state()
        weight = victim.model[0].weight
        with pytest.MonkeyPatch.context() as patch:
            if part:
                make_fail(patch, victim, part)
                with pytest.raises(MismatchedCheckpointError, match=f"{part} could not .*changed"):
                    victim.load_state_dict(saved)
        if part:
            assert differences(before, victim.state_dict()) == [], part
            assert torch.equal(drawn, torch.get_rng_state())
            assert victim.optimizer.state[weight]["step"] == 1
    victim.load_state_dict(saved)
    assert differences(saved, victim.state_dict()) == []


def make_fail(patch, state, part):
    """Let a part fail after it was restored, once."""
    kind = type(state._kinds()[part])
    load, failed = kind.load, []

    def fail(self, saved):
        load(self, saved)
        if self.name == part and not failed:
            failed.append(part)
            raise OSError("no more memory")

    patch.setattr(kind, "load", fail)


def test_what_the_failing_part_said_is_told():
    saved = new_state(place=Place()).state_dict()
    state = new_state(seed=9, place=Place(fails=True))
    with pytest.raises(
        MismatchedCheckpointError, match=r"place could not be restored .*shard 7.*put back"
    ):
        state.load_state_dict(saved)


def test_numbers_drawn_by_a_part_that_fails_are_not_missed():
    class Drawing(Place):
        def load_state_dict(self, state):
            torch.rand(1)
            super().load_state_dict(state)

    saved = new_state(place=Place()).state_dict()
    state = new_state(seed=9, place=Drawing(fails=True))
    drawn = torch.get_rng_state()
    with pytest.raises(MismatchedCheckpointError):
        state.load_state_dict(saved)
    assert torch.equal(drawn, torch.get_rng_state())


def test_parts_of_one_name_with_a_layer_of_the_model():
    def new(seed):
        seed_everything(seed)
        model = nn.ModuleDict({"second": nn.Linear(2, 2)})
        second, lone = nn.Linear(2, 2), nn.Parameter(torch.randn(2))
        other = torch.optim.SGD([*second.parameters(), lone], lr=0.1)
        first = torch.optim.SGD(model.parameters(), lr=0.1)
        return TrainState(model, first, second=second, lone=lone, other=other)

    saved, again = new(0).state_dict(), new(9)
    again.load_state_dict(saved)
    assert differences(again.state_dict(), saved) == []


def test_layers_whose_names_are_those_of_an_optimizer():
    def new(seed):
        seed_everything(seed)
        layers = {"param_groups": nn.Linear(2, 2), "state": nn.Linear(2, 2)}
        model, other = nn.ModuleDict(layers), nn.ModuleDict(layers)
        return TrainState(model, torch.optim.SGD(model.parameters(), lr=0.1), other=other)

    saved, again = new(0).state_dict(), new(9)
    assert saved["parameter_order"].keys() == {"optimizer"}
    again.load_state_dict(saved)
    assert differences(again.state_dict(), saved) == []


# Gradients


@pytest.mark.parametrize("micro", [1, 2])
@pytest.mark.parametrize("to_none", [True, False])
def test_gradients_of_an_unfinished_accumulation_are_saved(tmp_path, micro, to_none):
    first = new_state()
    step(first)
    first.optimizer.zero_grad(set_to_none=to_none)
    for i in range(micro):
        first.model(ROWS[i : i + 2]).square().mean().backward()
    saved = through_a_file(first, tmp_path)
    assert set(saved["gradients"]) == {"0.weight", "0.bias", "1.weight", "1.bias"}
    again = restored(saved)
    for run in (first, again):
        step(run, ROWS[4:])
    assert differences(first.state_dict(), again.state_dict()) == []
    without = {key: value for key, value in saved.items() if key != "gradients"}
    other = restored(without)
    step(other, ROWS[4:])
    assert differences(first.model.state_dict(), other.model.state_dict())


@pytest.mark.parametrize("kind", [torch.optim.AdamW, torch.optim.SGD])
def test_gradients_that_a_step_has_used_are_not(kind):
    state = new_state(make=kind)
    for number in range(4):
        state.optimizer.zero_grad()
        state.model(ROWS).square().mean().backward()
        assert len(state.state_dict()["gradients"]) == 4
        state.optimizer.step()
        # After one step nobody knows yet whether the loop will drop them.
        assert ("gradients" in state.state_dict()) is (number == 0)
    state.model(ROWS).square().mean().backward()  # into the same tensors
    assert len(state.state_dict()["gradients"]) == 4


def test_nor_are_those_that_a_second_optimizer_has_used():
    head = nn.Linear(2, 1)
    second = torch.optim.SGD(head.parameters(), lr=0.1)
    state = new_state(head=head, second=second)
    for _ in range(2):  # a loop that drops its gradients
        head(state.model(ROWS)).square().mean().backward()
        state.optimizer.step()
        second.step()
        state.optimizer.zero_grad()
        second.zero_grad()
    head(state.model(ROWS)).square().mean().backward()
    state.optimizer.step()
    assert set(state.state_dict()["gradients"]) == {"head:weight", "head:bias"}
    second.step()
    assert "gradients" not in state.state_dict()


@pytest.mark.parametrize("after", [1, 2])
def test_gradients_that_a_step_has_used_are_saved_where_the_loop_keeps_them(after):
    """Cleared in place, added up for ever, or cleared now and then: nobody can tell."""
    state = new_state()
    for number in range(5):
        state.model(ROWS).square().mean().backward()
        state.optimizer.step()
        assert len(state.state_dict()["gradients"]) == 4
        if number >= after:
            state.optimizer.zero_grad(set_to_none=number == 3)


def test_gradients_of_parameters_that_were_never_in_a_step_are_saved():
    model = new_state().model
    state = TrainState(model, torch.optim.AdamW(model[0].parameters()))
    for _ in range(3):
        state.optimizer.zero_grad()
        state.model(ROWS).square().mean().backward()
        state.optimizer.step()
    assert set(state.state_dict()["gradients"]) == {"1.weight", "1.bias"}


def test_a_new_gradient_is_never_taken_for_a_used_one():
    """Not by its address, which the memory of the former one may get again."""
    state = new_state()
    for _ in range(50):
        state.model(ROWS).square().mean().backward()
        state.optimizer.step()
        state.optimizer.zero_grad()
        state.model(ROWS).square().mean().backward()
        assert len(state.state_dict()["gradients"]) == 4
        state.optimizer.zero_grad()


def test_stale_gradients_are_dropped(tmp_path):
    state = new_state()
    saved = through_a_file(state, tmp_path)
    state.model(ROWS).square().mean().backward()
    state.load_state_dict(saved)
    assert all(parameter.grad is None for parameter in state.model.parameters())


def test_a_gradient_of_another_shape_is_refused(tmp_path):
    state = new_state()
    state.model(ROWS).square().mean().backward()
    saved = through_a_file(state, tmp_path)
    saved["gradients"]["0.bias"] = torch.ones(7)
    with pytest.raises(MismatchedCheckpointError, match=r"gradients\.0\.bias: shape \(7,\)"):
        new_state().load_state_dict(saved)


# Tensors come back as they were, and are one's own


class Masters(torch.optim.Optimizer):
    """float32 moments and weights for bfloat16 parameters, nested, and a text."""

    def __init__(self, parameters, lr=0.1):
        super().__init__(parameters, {"lr": lr})

    @torch.no_grad()
    def step(self, closure=None):
        for group in self.param_groups:
            for p in group["params"]:
                mine = self.state[p]
                if not mine:
                    mine.update(m=[torch.zeros(p.shape)], more={"master": p.float()}, kind="own")
                mine["m"][0].mul_(0.9).add_(p.grad.float())
                mine["more"]["master"].sub_(group["lr"] * mine["m"][0])
                p.copy_(mine["more"]["master"])


@pytest.mark.parametrize("kind", [Masters, torch.optim.NAdam, torch.optim.ASGD])
def test_moments_keep_their_dtype(tmp_path, kind):
    def new(seed):
        seed_everything(seed)
        model = nn.Linear(4, 2).bfloat16()
        return TrainState(model, kind(model.parameters(), lr=0.1))

    first, again = new(0), new(9)
    step(first, ROWS.bfloat16())
    again.load_state_dict(through_a_file(first, tmp_path))
    assert differences(first.state_dict(), again.state_dict()) == []
    for _ in range(5):
        step(first, ROWS.bfloat16())
        step(again, ROWS.bfloat16())
    assert differences(first.state_dict(), again.state_dict()) == []


def test_two_runs_from_one_loaded_state_have_nothing_in_common(tmp_path):
    first = new_state(box=Place(), seen=[torch.zeros(1)])
    step(first)
    saved = through_a_file(first, tmp_path)
    kept = copy.deepcopy(saved)
    runs = [restored(saved, box=Place(), seen=None) for _ in range(2)]
    step(runs[0])
    runs[0].parts["seen"][0] += 1
    assert differences(saved, kept) == []
    assert differences(runs[1].state_dict(), kept) == []


def test_a_state_that_was_assigned_from_does_not_cut_the_optimizer_off(tmp_path):
    """`assign=True` marks the state's metadata for ever: pytorch#188166."""
    saved = through_a_file(new_state(), tmp_path)
    new_state().model.load_state_dict(saved["model"], assign=True)
    assert saved["model"]._metadata["0"]["assign_to_params_buffers"]
    again = new_state(seed=9)
    weight = again.model[0].weight
    again.load_state_dict(saved)
    assert again.model[0].weight is weight
    assert saved["model"]._metadata["0"]["assign_to_params_buffers"]  # the caller's own: untouched


# What is saved can be loaded


@pytest.mark.parametrize("number", [np.int64(3), torch.tensor(3), np.array([3])[0]])
def test_counters_may_be_of_another_kind(tmp_path, number):
    state = new_state()
    state.step = state.epoch = number
    saved = through_a_file(state, tmp_path)
    assert (saved["step"], type(saved["step"])) == (3, int)
    assert restored(saved).epoch == 3
    assert restored({**saved, "epoch": torch.tensor(4)}).epoch == 4  # as build 0.1 saved it


@pytest.mark.parametrize(
    ("parts", "words"),
    [
        ({"config": argparse.Namespace(lr=1)}, r"config is a argparse.Namespace.*vars"),
        ({"config": {"out": Path("x")}}, r"config\.out is a pathlib.*str"),
        ({"config": [np.zeros(2)]}, r"config\.0 is a numpy.ndarray.*from_numpy"),
        ({"seen": collections.defaultdict(int)}, "seen is a collections.defaultdict.*dict"),
        ({"mine": [b""]}, r"mine\.0 is bytes of length 0.*bytearray"),
        ({"own": random.SystemRandom()}, "own is a random.SystemRandom"),
        ({"draw": np.zeros}, "draw is a .*what it is made from"),
        ({"head": nn.LazyLinear(2)}, r"head\.weight has no shape yet"),
        ({"head": nn.Linear(2, 2, device="meta")}, r"head\.weight is on the meta device"),
    ],
)
def test_what_could_not_be_loaded_is_refused_when_it_is_saved(parts, words):
    with pytest.raises(CheckpointWriteError, match=words):
        new_state(**parts).state_dict()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda state: setattr(state, "step", 1.5), "step is 1.5, not a number"),
        (lambda state: setattr(state, "step", torch.ones(2)), r"step is tensor\(.*, not a number"),
        (lambda state: state.sampler.advance(11), "position 11 is not in an epoch of 10"),
        (
            lambda state: state.optimizer.param_groups[0].update(x=[torch.eye(2).to_sparse_csr()]),
            "optimizer: a group holds a compressed sparse tensor",
        ),
        (
            lambda state: state.optimizer.add_param_group(
                {"params": [nn.Parameter(torch.ones(1))]}
            ),
            "optimizer: a parameter of it is in no module",
        ),
    ],
)
def test_a_state_that_load_would_refuse_is_refused_when_it_is_saved(change, words):
    state = new_state(sampler=ResumableSampler(10))
    change(state)
    with pytest.raises(CheckpointWriteError, match=words):
        state.state_dict()


@pytest.mark.parametrize(
    "value",
    [None, True, 2**70, -0.5, 1j, "zwölf", b"\x00", (1, [2.5]), {"a": {1: 2}}, {3, 4},
     collections.Counter("aab"), collections.OrderedDict(b=1), torch.Size([2]), torch.bfloat16,
     bytearray(), torch.eye(2).to_sparse(), torch.eye(2).to_sparse_csr(),
     torch.arange(3), torch.ones(2, dtype=torch.complex64).conj(), [np.float32(0.5), np.bool_(1)]],
    ids=repr,
)  # fmt: skip
def test_plain_values_come_back(tmp_path, value):
    saved = through_a_file(new_state(mine=[value]), tmp_path)
    (back,) = restored(saved, mine=None).parts["mine"]
    assert type(back) is type(value)
    if isinstance(value, list):
        assert list(map(type, back)) == list(map(type, value))
    assert differences([back], [value]) == []


# PyTorch's versions


def scheduled(kind, seed=0, **options):
    state = new_state(seed, make=torch.optim.SGD)
    state.scheduler = kind(state.optimizer, **options)
    return TrainState(state.model, state.optimizer, scheduler=state.scheduler)


def test_private_entries_that_came_or_went_are_said_and_do_no_harm():
    saved = scheduled(schedules.StepLR, step_size=2).state_dict()
    had_verbose = "verbose" in saved["scheduler"]  # until 2.6
    old = {k: v for k, v in saved["scheduler"].items() if k not in ("_is_initial", "_last_lr")}
    saved["scheduler"] = {**old, "verbose": False, "_of_2_16": 1}
    saved["about"]["torch"] = "2.6.0"
    again = scheduled(schedules.StepLR, seed=9, step_size=2)
    with pytest.warns(UserWarning, match=r"PyTorch 2\.6\.0") as caught:
        again.load_state_dict(saved)
    (said,) = caught
    for name in ("_last_lr is not in", "_of_2_16 is in the"):
        assert f"scheduler.{name}" in str(said.message)
    assert ("scheduler.verbose is in the" in str(said.message)) is not had_verbose
    assert "_of_2_16" not in vars(again.scheduler)
    assert ("verbose" in vars(again.scheduler)) is had_verbose


def test_so_are_those_of_schedulers_inside_others():
    def new():
        state = new_state()
        inside = [
            schedules.LinearLR(state.optimizer),
            schedules.ExponentialLR(state.optimizer, 0.9),
        ]
        sequence = schedules.SequentialLR(state.optimizer, inside, [3])
        return TrainState(state.model, state.optimizer, scheduler=sequence)

    saved = copy.deepcopy(new().state_dict())
    saved["scheduler"]["_schedulers"][1]["_of_2_16"] = False
    again = new()
    with pytest.warns(UserWarning, match=r"scheduler\._schedulers\.1\._of_2_16"):
        again.load_state_dict(saved)
    assert not hasattr(again.scheduler._schedulers[1], "_of_2_16")
    del saved["scheduler"]["_schedulers"][0]["start_factor"]
    with pytest.raises(MismatchedCheckpointError, match=r"_schedulers\.0\.start_factor is not"):
        again.load_state_dict(saved)


class SwalrOf26(SWALR):
    """As in PyTorch 2.6: its function is in its state, and the function's name is nowhere."""

    state_dict = schedules.LRScheduler.state_dict
    load_state_dict = schedules.LRScheduler.load_state_dict

    def __init__(self, *arguments, **options):
        super().__init__(*arguments, **options)
        vars(self).pop("_anneal_strategy", None)


def swalr(kind, strategy, seed=0, inside=False):
    state = new_state(seed, make=torch.optim.SGD)
    scheduler = kind(state.optimizer, 0.02, anneal_epochs=4, anneal_strategy=strategy)
    if inside:
        first = schedules.ConstantLR(state.optimizer)
        scheduler = schedules.SequentialLR(state.optimizer, [first, scheduler], [1])
    return TrainState(state.model, state.optimizer, scheduler=scheduler)


def rates(state):
    found = []
    for _ in range(4):
        state.optimizer.step()
        state.scheduler.step()
        found.append(state.optimizer.param_groups[0]["lr"])
    return found


@pytest.mark.parametrize("inside", [False, True])
@pytest.mark.parametrize("kind", [SWALR, SwalrOf26])
@pytest.mark.parametrize("again_kind", [SWALR, SwalrOf26])
@pytest.mark.filterwarnings("ignore:The epoch parameter in `scheduler.step")  # torch's own call
def test_averaging_is_scheduled_on_by_any_version(tmp_path, kind, again_kind, inside):
    state = swalr(kind, "linear", inside=inside)
    rates(state)
    save_checkpoint(tmp_path / "a.pt", state.state_dict())
    again = swalr(again_kind, "cos", seed=9, inside=inside)
    again.load_state_dict(load_checkpoint(tmp_path / "a.pt"))
    assert rates(again) == rates(state)


def test_a_setting_that_a_newer_torch_has_added_is_said_if_it_is_off_and_refused_if_it_is_on():
    saved = copy.deepcopy(new_state().state_dict())
    saved["optimizer"]["param_groups"][0]["new_in_2_16"] = False
    del saved["optimizer"]["param_groups"][0]["foreach"]
    state = new_state(seed=9)
    with pytest.warns(UserWarning, match="no setting new_in_2_16.*off") as caught:
        state.load_state_dict(saved)
    assert "optimizer.foreach is not in the checkpoint" in str(caught[0].message)
    assert state.optimizer.param_groups[0]["foreach"] is None
    saved["optimizer"]["param_groups"][0]["new_in_2_16"] = 0.5
    with pytest.raises(MismatchedCheckpointError, match="no setting new_in_2_16: another kind"):
        state.load_state_dict(saved)


def test_a_setting_that_is_newer_than_the_file_keeps_its_value():
    state = new_state(make=Masters)
    saved = copy.deepcopy(state.state_dict())
    again = new_state(seed=9, make=Masters)
    again.optimizer.param_groups[0]["warmup"] = 5
    with pytest.warns(UserWarning, match=r"optimizer\.warmup is not in the checkpoint"):
        again.load_state_dict(saved)
    assert again.optimizer.param_groups[0]["warmup"] == 5


# Settings that were changed since


@pytest.mark.parametrize("keep", [(), ("scheduler",)])
def test_a_changed_schedule_is_said_and_can_be_chosen(keep):
    saved = copy.deepcopy(scheduled(schedules.CosineAnnealingLR, T_max=10).state_dict())
    longer = scheduled(schedules.CosineAnnealingLR, seed=9, T_max=20)
    whose = "this run's" if keep else r"the checkpoint's counts, unless keep=\['scheduler'\]"
    said = f"scheduler.T_max is 10 in the checkpoint and 20 here; {whose}"
    with pytest.warns(UserWarning, match=said):
        longer.load_state_dict(saved, keep=keep)
    assert longer.scheduler.T_max == (20 if keep else 10)
    with warnings.catch_warnings():  # what counts now is what the next save has
        warnings.simplefilter("error")
        same = scheduled(schedules.CosineAnnealingLR, T_max=20 if keep else 10)
        same.load_state_dict(longer.state_dict())


@pytest.mark.parametrize("keep", [(), ("scheduler",)], ids=["the file's", "this run's"])
def test_changed_milestones_are_said_and_can_be_chosen(keep):
    def run(*milestones):
        net = nn.Linear(2, 2)
        sgd = torch.optim.SGD(net.parameters())
        return TrainState(net, sgd, scheduler=schedules.MultiStepLR(sgd, milestones))

    state = run(3, 5, 5)
    other = run(4, 6)
    with pytest.warns(UserWarning, match="scheduler.milestones"):
        other.load_state_dict(state.state_dict(), keep=keep)
    expected = {4: 1, 6: 1} if keep else {3: 1, 5: 2}
    assert other.scheduler.milestones == collections.Counter(expected)
    assert isinstance(other.scheduler.milestones, collections.Counter)


def test_another_number_of_schedulers_inside_is_told():
    def run(count):
        net = nn.Linear(2, 2)
        sgd = torch.optim.SGD(net.parameters())
        inside = [schedules.ConstantLR(sgd) for _ in range(count)]
        return TrainState(net, sgd, scheduler=schedules.ChainedScheduler(inside))

    with pytest.raises(
        MismatchedCheckpointError, match="scheduler is made of 2 schedulers, here of 3"
    ):
        run(3).load_state_dict(run(2).state_dict())


def test_what_follows_from_a_setting_goes_with_it():
    def new(total, seed=0):
        return scheduled(schedules.OneCycleLR, seed, max_lr=1.0, total_steps=total)

    saved, longer, fresh = new(10).state_dict(), new(30, seed=9), new(30)
    with pytest.warns(UserWarning, match="scheduler.total_steps is 10 .* 30 here; this run's"):
        longer.load_state_dict(saved, keep=["scheduler"])
    for state in (longer, fresh):
        for _ in range(15):
            state.optimizer.step()
            state.scheduler.step()
    assert longer.scheduler.get_last_lr() == fresh.scheduler.get_last_lr()


@pytest.mark.parametrize("keep", [(), ("optimizer",)])
def test_a_changed_learning_rate_is_said_and_can_be_chosen(keep):
    def new(lr, seed=0):
        model = nn.Linear(4, 2)
        optimizer = torch.optim.SGD(model.parameters(), lr=lr)
        scheduler = schedules.LambdaLR(optimizer, lambda step: 0.5**step)
        return TrainState(model, optimizer, scheduler=scheduler)

    first, other = new(0.1), new(0.2, seed=9)
    step(first)
    first.scheduler.step()
    whose = "this run's" if keep else "the checkpoint's"
    with pytest.warns(UserWarning, match=f"lr is 0.1 in the checkpoint and 0.2 here; {whose}"):
        other.load_state_dict(first.state_dict(), keep=keep)
    lr = 0.2 if keep else 0.1
    assert other.optimizer.param_groups[0]["lr"] == pytest.approx(lr / 2)
    step(other)
    other.scheduler.step()
    assert other.optimizer.param_groups[0]["lr"] == pytest.approx(lr / 4)


def test_a_learning_rate_that_a_schedule_has_moved_is_no_change():
    state = scheduled(schedules.ExponentialLR, gamma=0.5)
    step(state)
    state.scheduler.step()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        scheduled(schedules.ExponentialLR, seed=9, gamma=0.5).load_state_dict(state.state_dict())


# Wrappers


WRAPS = {"compiled": torch.compile, "DataParallel": nn.DataParallel, "plain": lambda module: module}


@pytest.mark.parametrize("there", WRAPS)
@pytest.mark.parametrize("here", WRAPS)
def test_a_wrapped_model_is_saved_bare_and_loaded_into_any(tmp_path, here, there):
    def new(wrap, seed):
        seed_everything(seed)
        model = wrap(nn.Sequential(nn.Linear(4, 3), nn.Linear(3, 2)))
        ema = torch.optim.swa_utils.AveragedModel(model)
        return TrainState(model, torch.optim.AdamW(model.parameters()), ema=ema)

    first, again = new(WRAPS[there], 0), new(WRAPS[here], 9)
    for parameter in first.model.parameters():
        parameter.grad = torch.ones_like(parameter)
    first.optimizer.step()
    for parameter in first.model.parameters():
        parameter.grad = torch.ones_like(parameter)
    saved = through_a_file(first, tmp_path)
    assert list(saved["model"]) == ["0.weight", "0.bias", "1.weight", "1.bias"]
    again.load_state_dict(saved)
    assert differences(saved["optimizer"], again.state_dict()["optimizer"]) == []
    assert differences(saved["gradients"], again.state_dict()["gradients"]) == []
    values = [[*run.state_dict()["ema"].values()] for run in (first, again)]
    assert differences(*values) == []


def test_a_state_that_build_0_1_saved_of_a_compiled_model_is_loaded():
    def wrapped(name):
        return f"_orig_mod.{name}"

    saved = copy.deepcopy(new_state().state_dict())
    del saved["about"]
    saved["model"] = {wrapped(name): value for name, value in saved["model"].items()}
    saved["parameter_order"] = [[wrapped(n) for n in saved["parameter_order"]["optimizer"][0]]]
    again = new_state(seed=9)
    again.load_state_dict(saved)
    assert differences(again.model.state_dict(), new_state().model.state_dict()) == []
    saved["parameter_order"][0].reverse()
    with pytest.raises(MismatchedCheckpointError, match="another order"):
        again.load_state_dict(saved)


def test_a_submodule_compiled_on_one_side_only():
    plain, half = new_state(), new_state(seed=9)
    half.model[1] = torch.compile(half.model[1])
    plain.model(ROWS).mean().backward()
    half.load_state_dict(plain.state_dict())
    assert differences([*half.model.parameters()], [*plain.model.parameters()]) == []
    gradients = ([p.grad for p in each.model.parameters()] for each in (half, plain))
    assert differences(*gradients) == []


# Loaders


def test_a_loader_that_is_not_in_order_is_named():
    sampler = ResumableSampler(8)
    data = list(range(8))
    loader = DataLoader(
        data, sampler=sampler, num_workers=2, in_order=False, generator=torch.Generator()
    )
    with pytest.warns(UserWarning, match="in_order=False"):
        state = new_state(sampler=loader)
    assert state.sampler is sampler
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        loader = DataLoader(data, sampler=sampler, generator=torch.Generator())
        assert new_state(sampler=loader).sampler is sampler


def test_a_loader_that_draws_from_the_global_generator_is_named():
    with pytest.warns(UserWarning, match=r"generator=torch.Generator\(\)"):
        new_state(sampler=DataLoader(list(range(8)), sampler=ResumableSampler(8)))

"""Restoring in place: the same values, in the same memory, all of them or none."""

import os
import subprocess
import sys
import warnings
from copy import deepcopy
from types import SimpleNamespace

import pytest
import safetensors.torch
import torch
from torch import nn

from course_utils.checkpoint import load_checkpoint, read_into, restore_checkpoint, save_checkpoint
from course_utils.errors import DamagedCheckpointError, MismatchedCheckpointError
from course_utils.files.contents import open_contents
from course_utils.resume import ResumableSampler, TrainState, differences


class Model(nn.Module):
    """Tied weights, buffers of both kinds, batch norm, a number, extra state."""

    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(50, 8)
        self.head = nn.Linear(8, 50, bias=False)
        self.head.weight = self.embed.weight
        self.conv = nn.Conv2d(3, 4, 3)
        self.norm = nn.BatchNorm2d(4)
        self.scale = nn.Parameter(torch.tensor(2.0))
        self.register_buffer("empty", torch.zeros(0, 3))
        self.register_buffer("scratch", torch.zeros(3), persistent=False)
        self.extra = {"calls": 0}

    def get_extra_state(self):
        return self.extra

    def set_extra_state(self, state):
        self.extra = state


def model(seed):
    torch.manual_seed(seed)
    made = Model()
    with torch.no_grad():
        for number, tensor in enumerate(made.state_dict().values()):
            if isinstance(tensor, torch.Tensor):
                tensor.fill_(seed * 10 + number) if not tensor.is_floating_point() else None
    made.extra = {"calls": seed}
    return made


@pytest.fixture(params=[2 << 20, 64], ids=["", "small chunks"])
def chunks(request, monkeypatch):
    monkeypatch.setattr(read_into, "CHUNK", request.param)
    monkeypatch.setattr(read_into, "ALONE", request.param)


@pytest.fixture(params=["ours", "torch", "safetensors"])
def saved(request, tmp_path):
    state = model(1).state_dict()
    path = tmp_path / "model.pt"
    if request.param == "ours":
        return save_checkpoint(path, state)
    if request.param == "torch":
        torch.save(state, path)
        return path
    tensors = {name: tensor.clone() for name, tensor in state.items() if "extra" not in name}
    safetensors.torch.save_file(tensors, path)
    return path


@pytest.fixture(autouse=True)
def no_second_way(request):
    """In place means in place: the ordinary way warns, and here it is an error."""
    with warnings.catch_warnings():
        if "ordinary" not in request.node.name:
            warnings.simplefilter("error")
        yield


def places(module):
    tensors = [*module.parameters(), *module.buffers()]
    return [(id(tensor), tensor.data_ptr()) for tensor in tensors]


def test_a_module(saved, chunks):
    target, expected = model(2), model(1)
    if saved.read_bytes()[8:9] == b"{":
        del Model.get_extra_state, Model.set_extra_state
    try:
        before, mode = places(target), target.training
        restore_checkpoint(saved, target)
    finally:
        Model.get_extra_state = lambda self: self.extra
        Model.set_extra_state = lambda self, state: setattr(self, "extra", state)
    assert places(target) == before
    assert target.head.weight is target.embed.weight
    expected.extra = target.extra
    assert not differences(dict(target.state_dict()), dict(expected.state_dict()))
    assert target.training == mode


def test_extra_state_is_handed_over(tmp_path):
    path = save_checkpoint(tmp_path / "a.pt", model(1).state_dict())
    target = model(2)
    restore_checkpoint(path, target)
    assert target.extra == {"calls": 1}


def trained(seed, steps, optimizer=torch.optim.AdamW):
    torch.manual_seed(seed)
    net = nn.Sequential(nn.Linear(5, 7), nn.BatchNorm1d(7), nn.Linear(7, 2))
    adam = optimizer(net.parameters(), lr=0.01)
    state = TrainState(
        net,
        adam,
        scheduler=torch.optim.lr_scheduler.StepLR(adam, 3),
        sampler=ResumableSampler(10, seed=3),
    )
    train(state, steps)
    return state


def train(state, steps):
    for _ in range(steps):
        state.optimizer.zero_grad()
        state.model(torch.randn(4, 5)).square().mean().backward()
        state.optimizer.step()
        state.scheduler.step()
        state.step += 1


@pytest.mark.parametrize("steps", [0, 2], ids=["new", "stepped"])
@pytest.mark.parametrize(
    "optimizer", [torch.optim.AdamW, torch.optim.SGD, torch.optim.RMSprop], ids=lambda o: o.__name__
)
def test_a_train_state_goes_on_bit_for_bit(tmp_path, chunks, optimizer, steps):
    original = trained(1, 4, optimizer)
    path = save_checkpoint(tmp_path / "a.pt", original.state_dict())
    straight = deepcopy(original)
    restored = trained(0, steps, optimizer)
    places = addresses(restored)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        restore_checkpoint(path, restored)
    assert places.items() <= addresses(restored).items(), "filled where they were"
    assert restored.step == 4
    train(restored, 3)
    straight.rng.load_state_dict(load_checkpoint(path)["rng"])
    train(straight, 3)
    copied = straight.state_dict()
    copied.pop("gradients")  # a copy of the optimizer no longer tells its TrainState of its steps
    assert not differences(restored.state_dict(), copied)


def addresses(state):
    """Of parameters, buffers and the tensors of the optimizer."""
    of_model = {name: t.data_ptr() for name, t in state.model.state_dict().items()}
    return of_model | {
        (number, key): value.data_ptr()
        for number, values in state.optimizer.state_dict()["state"].items()
        for key, value in values.items()
        if isinstance(value, torch.Tensor)
    }


def test_moments_keep_the_dtype_they_were_saved_in(tmp_path):
    def run(seed):
        torch.manual_seed(seed)
        net = nn.Linear(4, 4).bfloat16()
        adam = torch.optim.Adam(net.parameters())
        net(torch.ones(1, 4).bfloat16()).sum().backward()
        adam.step()
        for values in adam.state.values():
            values["exp_avg"] = values["exp_avg"].float() + seed / 3
        return TrainState(net, adam)

    original, restored = run(1), run(2)
    path = save_checkpoint(tmp_path / "a.pt", original.state_dict())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        restore_checkpoint(path, restored)
    mine, theirs = (run.optimizer.state_dict()["state"] for run in (restored, original))
    assert mine[0]["exp_avg"].dtype == torch.float32
    assert not differences(mine, theirs)


def test_values_that_only_the_safe_unpickler_makes(tmp_path):
    """Counter, set, bytes and complex numbers among the parts do not send it the ordinary way."""
    net = nn.Linear(2, 2)
    adam = torch.optim.Adam(net.parameters())
    values = {"seen": {1, 2}, "digest": b"\x00\xff", "z": 1 - 2j, "size": torch.Size([2])}
    decay = torch.optim.lr_scheduler.MultiStepLR(adam, [3, 5, 5])
    state = TrainState(net, adam, scheduler=decay, **values)
    path = save_checkpoint(tmp_path / "a.pt", state.state_dict())
    state.parts |= dict.fromkeys(values)
    decay.milestones.clear()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        restore_checkpoint(path, state)
    assert state.parts == values
    assert decay.milestones == {3: 1, 5: 2}


class Fussy:
    """Refuses its state at one call: 1 is the rehearsal, 2 what puts it back, 3 is in earnest."""

    def __init__(self, refuses):
        self.refuses, self.calls = refuses, 0

    def state_dict(self):
        return {}

    def load_state_dict(self, state):
        self.calls += 1
        if self.calls == self.refuses:
            raise RuntimeError("not today")


@pytest.mark.parametrize(
    ("call", "outcome"),
    [(1, "nothing has been changed"), (3, "model, optimizer hold new values now")],
    ids=["in the rehearsal", "later"],
)
def test_a_part_that_refuses_its_state(tmp_path, call, outcome):
    path = save_checkpoint(tmp_path / "a.pt", trained(1, 3).state_dict() | {"fussy": {}})
    run = trained(0, 2)
    run.parts["fussy"] = Fussy(call)
    before, states = snapshot(run), deepcopy((run.scheduler.state_dict(), run.sampler.state_dict()))
    with pytest.raises(MismatchedCheckpointError, match=f"fussy could not.*not today.*{outcome}"):
        restore_checkpoint(path, run)
    assert (run.scheduler.state_dict(), run.sampler.state_dict()) == states
    assert bool(differences(snapshot(run), before)) == (call == 3)


def test_some_entries_of_a_checkpoint(tmp_path):
    original = trained(1, 3)
    path = save_checkpoint(tmp_path / "a.pt", original.state_dict())
    other = trained(0, 0)
    restore_checkpoint(path, {"model": other.model, "optimizer": other.optimizer})
    assert not differences(other.model.state_dict(), original.model.state_dict())
    assert not differences(other.optimizer.state_dict(), original.optimizer.state_dict())
    assert other.step == 0


@pytest.mark.parametrize(
    "change",
    [
        lambda t: t.double(),
        lambda t: t.to(torch.bfloat16),
        lambda t: t.t().contiguous().t(),
        lambda t: torch.cat([t, t], 1)[:, 3:23],
        lambda t: torch.cat([t, t])[5:35],
        lambda t: t[:1].expand(30, 20),
    ],
    ids=["double", "bfloat16", "transposed", "columns", "rows", "expanded"],
)
@pytest.mark.parametrize("where", ["in the file", "here"])
def test_other_dtypes_and_layouts(tmp_path, chunks, change, where):
    values = torch.arange(600.0).reshape(30, 20)
    in_file, here = values, torch.zeros(30, 20)
    if where == "in the file":
        in_file = change(values)
    else:
        here = change(here)
        if 0 in here.stride():
            pytest.skip("a parameter whose rows are one memory takes no values")
    path = save_checkpoint(tmp_path / "a.pt", {"weight": in_file})
    target, ordinary = nn.Module(), nn.Module()
    target.weight, ordinary.weight = nn.Parameter(here), nn.Parameter(here.clone())
    place = here.data_ptr()
    restore_checkpoint(path, target)
    ordinary.load_state_dict(load_checkpoint(path))
    assert target.weight.data_ptr() == place
    assert not differences(target.weight.data, ordinary.weight.data)


def test_values_for_a_gpu_come_through_one_pinned_buffer(monkeypatch):
    """A stand-in for what no test machine has."""
    made = []
    monkeypatch.setattr(read_into, "_memory", SimpleNamespace())
    monkeypatch.setattr(read_into, "_pinned", lambda size: made.append(size) or torch.empty(size))
    first, second = (read_into._staging(size, "cuda") for size in (10, read_into.CHUNK))
    assert made == [read_into.CHUNK]
    assert (len(first), len(second)) == (10, read_into.CHUNK)
    assert first.data_ptr() == second.data_ptr()
    assert len(read_into._staging(read_into.CHUNK + 1, "cuda")) == read_into.CHUNK + 1
    assert read_into._staging(10, "cpu").data_ptr() != first.data_ptr()


# Nothing half-loaded


def snapshot(state):
    return deepcopy({"model": state.model.state_dict(), "optimizer": state.optimizer.state_dict()})


@pytest.mark.parametrize("whole", [False, True], ids=["some parts", "TrainState"])
@pytest.mark.parametrize("by_torch", [False, True])
def test_every_record_damaged_leaves_all_as_it_was(tmp_path, by_torch, whole):
    path = tmp_path / "a.pt"
    state = trained(1, 3).state_dict()
    original = state if whole else {"model": state["model"], "optimizer": state["optimizer"]}
    torch.save(original, path) if by_torch else save_checkpoint(path, original)
    content = path.read_bytes()
    run = trained(0, 2)
    target = run if whole else {"model": run.model, "optimizer": run.optimizer}
    before = snapshot(run)
    records = open_contents(path).records
    assert len(records) > 20
    for record in records.values():
        for position in {record.offset, record.offset + record.size - 1, record.header + 8}:
            damaged = bytearray(content)
            damaged[position] ^= 4
            path.write_bytes(damaged)
            with pytest.raises(DamagedCheckpointError, match=r"a\.pt"):
                restore_checkpoint(path, target)
            assert not differences(snapshot(run), before), record.name
    for cut in range(1, 10):
        path.write_bytes(content[: len(content) * cut // 10])
        with pytest.raises(DamagedCheckpointError):
            restore_checkpoint(path, target)
    assert not differences(snapshot(run), before)
    path.write_bytes(content)
    restore_checkpoint(path, target)
    assert not differences(run.model.state_dict(), original["model"])


def test_a_file_overwritten_between_the_readings_is_told(tmp_path, monkeypatch):
    path = save_checkpoint(tmp_path / "a.pt", nn.Linear(3, 3).state_dict())
    read = read_into.read
    monkeypatch.setattr(read_into, "ALONE", 0)  # as for a large file: a small one is read once

    def meanwhile(*arguments):
        with open(path, "r+b") as file:
            file.write(file.read(1))
        os.utime(path, (1, 1))
        read(*arguments)

    monkeypatch.setattr(read_into, "read", meanwhile)
    with pytest.raises(DamagedCheckpointError, match="old and new"):
        restore_checkpoint(path, nn.Linear(3, 3))


def test_a_small_file_is_read_once(tmp_path, monkeypatch):
    """What comes over it afterwards is not loaded."""
    original, target = nn.Linear(3, 3), nn.Linear(3, 3)
    path = save_checkpoint(tmp_path / "a.pt", original.state_dict())
    verify = read_into.verify

    def meanwhile(*arguments):
        verify(*arguments)
        path.write_bytes(bytes(path.stat().st_size))

    monkeypatch.setattr(read_into, "verify", meanwhile)
    restore_checkpoint(path, target)
    assert not differences(target.state_dict(), original.state_dict())


@pytest.mark.parametrize("alone", [0, 1 << 20], ids=["large", "small"])
def test_a_graph_from_before_is_not_run_through_new_values(tmp_path, monkeypatch, alone):
    monkeypatch.setattr(read_into, "ALONE", alone)
    path, model = tmp_path / "a.pt", nn.Linear(2, 2)
    save_checkpoint(path, nn.Linear(2, 2).state_dict())
    loss = (model.weight * model.weight).sum()
    restore_checkpoint(path, model)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


def test_a_file_cut_off_between_the_readings_is_told(tmp_path, monkeypatch):
    path = save_checkpoint(tmp_path / "a.pt", nn.Linear(3, 3).state_dict())
    read = read_into.read
    monkeypatch.setattr(read_into, "ALONE", 0)

    def meanwhile(*arguments):
        os.truncate(path, 100)
        read(*arguments)

    monkeypatch.setattr(read_into, "read", meanwhile)
    with pytest.raises(DamagedCheckpointError, match=r"second time.*old and new"):
        restore_checkpoint(path, nn.Linear(3, 3))


def narrow(state):
    state["model"]["0.weight"] = torch.zeros(7, 4)


def without(state):
    del state["model"]["2.bias"]


def surplus(state):
    state["model"]["more"] = torch.zeros(1)


def regrouped(state):
    state["optimizer"]["param_groups"][0]["params"].pop()


def number(state):
    state["model"]["0.weight"] = 3


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (narrow, r"0\.weight.*\(7, 4\)"),
        (without, r"2\.bias is not in the file"),
        (surplus, "more is in the file only"),
        (regrouped, "groups of"),
        (number, r"0\.weight is a int"),
        (lambda state: state.pop("optimizer"), "optimizer is not in the file"),
    ],
)
def test_what_does_not_fit_is_told_before_anything_changes(tmp_path, change, words):
    state = deepcopy(trained(1, 3).state_dict())
    change(state)
    path = save_checkpoint(tmp_path / "a.pt", state)
    target = trained(0, 2)
    before = snapshot(target)
    with pytest.raises(MismatchedCheckpointError, match=rf"(?s)a\.pt.*{words}"):
        restore_checkpoint(path, {"model": target.model, "optimizer": target.optimizer})
    with pytest.raises(MismatchedCheckpointError):
        restore_checkpoint(path, target)
    assert not differences(snapshot(target), before)


def test_a_model_on_the_meta_device_is_sent_elsewhere(tmp_path):
    path = save_checkpoint(tmp_path / "a.pt", nn.Linear(2, 2).state_dict())
    with pytest.raises(MismatchedCheckpointError, match="load_into_meta"):
        restore_checkpoint(path, nn.Linear(2, 2, device="meta"))


# The ordinary way, with a word


class Renaming(nn.Linear):
    def _load_from_state_dict(self, state, prefix, *arguments):
        state[prefix + "weight"] = state.pop(prefix + "kernel")
        super()._load_from_state_dict(state, prefix, *arguments)


def test_the_ordinary_way_for_a_class_with_its_own(tmp_path):
    torch.manual_seed(0)
    source, target = nn.Linear(2, 3), nn.Sequential(Renaming(2, 3))
    state = {"0.kernel": source.weight, "0.bias": source.bias}
    path = save_checkpoint(tmp_path / "a.pt", state)
    with pytest.warns(UserWarning, match="ordinary way.*0, a Renaming"):
        restore_checkpoint(path, target)
    assert torch.equal(target[0].weight, source.weight)


def test_the_ordinary_way_for_hooks_of_modules_and_optimizers(tmp_path):
    original = trained(1, 3)
    path = save_checkpoint(tmp_path / "a.pt", original.state_dict())
    for part in ("model", "optimizer"):
        target, called = trained(0, 0), []
        getattr(target, part).register_load_state_dict_pre_hook(lambda *_, c=called: c.append(1))
        with pytest.warns(UserWarning, match="hooks"):
            restore_checkpoint(path, {"model": target.model, "optimizer": target.optimizer})
        assert called
        assert not differences(target.model.state_dict(), original.model.state_dict())


def test_a_hook_afterwards_is_called(tmp_path):
    path = save_checkpoint(tmp_path / "a.pt", nn.Linear(2, 2).state_dict())
    target, called = nn.Linear(2, 2), []
    target.register_load_state_dict_post_hook(lambda *_: called.append(1))
    restore_checkpoint(path, target)
    assert called == [1]


def test_the_ordinary_way_for_tensors_that_overlap(tmp_path):
    memory = torch.zeros(10)
    target = nn.Module()
    target.a, target.b = nn.Parameter(memory[:6]), nn.Parameter(memory[4:])
    path = save_checkpoint(tmp_path / "a.pt", {"a": torch.ones(6), "b": torch.full((6,), 2.0)})
    with pytest.warns(UserWarning, match="share memory in part"):
        restore_checkpoint(path, target)
    assert target.a.tolist() == [1, 1, 1, 1, 2, 2]


def test_untied_in_the_file_the_last_name_counts_as_ever(tmp_path):
    state = model(1).state_dict()
    state["head.weight"] = state["head.weight"] + 1
    path = save_checkpoint(tmp_path / "a.pt", state)
    target, ordinary = model(2), model(2)
    restore_checkpoint(path, target)
    ordinary.load_state_dict(load_checkpoint(path))
    assert torch.equal(target.head.weight, ordinary.head.weight)


# Memory


MEMORY = """
import re, sys, torch
from torch import nn
from course_utils.checkpoint import restore_checkpoint, save_checkpoint
from course_utils.resume import TrainState
model = nn.Linear(2500, 5000)
target = model
if sys.argv[2] == "run":
    optimizer = torch.optim.Adam(model.parameters(), foreach=False)
    model(torch.ones(1, 2500)).sum().backward()
    optimizer.step()
    optimizer.zero_grad()
    target = TrainState(model, optimizer)
if sys.argv[3] == "save":
    save_checkpoint(sys.argv[1], target.state_dict())
    sys.exit()
def peak():
    return int(re.search(r"VmHWM:\\s+(\\d+)", open("/proc/self/status").read())[1])
open("/proc/self/clear_refs", "w").write("5")
before = peak()
restore_checkpoint(sys.argv[1], target)
print(peak() - before)
"""


@pytest.mark.parametrize("target", ["model", "run"])
def test_nothing_is_allocated(tmp_path, target):
    """Beyond model and optimizer at most 32 MB, in a fresh process; the file has 50 or 150."""
    for todo in ("save", "restore"):
        done = subprocess.run(
            [sys.executable, "-c", MEMORY, str(tmp_path / "a.pt"), target, todo],
            stdout=subprocess.PIPE, text=True, check=True,
        )  # fmt: skip
    assert int(done.stdout) < 32 * 1024


class Refusing(nn.Linear):
    """Takes its weights, and then refuses the rest."""

    def _load_from_state_dict(self, state, prefix, *arguments):
        super()._load_from_state_dict(state, prefix, *arguments)
        if state[prefix + "bias"][0] == 0:
            raise ValueError("not today")


@pytest.mark.parametrize("entry", ["a shape", "a name", "its own refusal", "an entry"])
def test_the_ordinary_way_loads_all_or_nothing(tmp_path, entry):
    new = {"0.weight": torch.ones(3, 2), "0.bias": torch.ones(3)}
    match entry:
        case "a shape":
            new["0.bias"] = torch.ones(4)
        case "a name":
            del new["0.bias"]
        case "its own refusal":
            new["0.bias"] = torch.zeros(3)
    other = trained(1, 3)
    saved = {"optimizer": other.optimizer.state_dict(), "model": new}
    if entry == "an entry":
        del saved["model"]
    path = save_checkpoint(tmp_path / "a.pt", saved)
    target = trained(0, 2)
    module = nn.Sequential(Refusing(2, 3))
    former = deepcopy([target.optimizer.state_dict(), module.state_dict()])
    with pytest.raises(MismatchedCheckpointError, match=r"a\.pt"):
        restore_checkpoint(path, {"optimizer": target.optimizer, "model": module})
    assert not differences([target.optimizer.state_dict(), module.state_dict()], former)


def test_a_part_that_refuses_is_asked_before_a_byte_is_written(tmp_path):
    path = save_checkpoint(tmp_path / "a.pt", trained(1, 3).state_dict() | {"fussy": {}})
    run = trained(0, 2)
    parts = {"model": run.model, "scheduler": run.scheduler, "fussy": Fussy(1)}
    before, former = snapshot(run), deepcopy(run.scheduler.state_dict())
    with pytest.raises(MismatchedCheckpointError, match=r"nothing was loaded.*not today"):
        restore_checkpoint(path, parts)
    assert not differences(snapshot(run), before)
    assert run.scheduler.state_dict() == former

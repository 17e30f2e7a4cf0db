"""A sharded run has the parts and the rules of a TrainState: what is saved can be loaded."""

import copy
import importlib.util
import pickle
import warnings
from pathlib import Path

import pytest
import torch
from extra_states import Keeps
from torch import nn
from torch.distributed.checkpoint.state_dict import get_optimizer_state_dict
from torch.optim import lr_scheduler as schedules
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from course_utils.distributed import (
    AsyncSaver,
    ShardedRun,
    commit,
    load_sharded,
    load_sharded_model,
    save_sharded,
    to_one_file,
)
from course_utils.distributed.index import read_index
from course_utils.errors import (
    CheckpointWriteError,
    MismatchedCheckpointError,
    UnsafeCheckpointError,
    UnsupportedCheckpointError,
)
from course_utils.resume import ResumableSampler, differences, seed_everything

DATA = Path(__file__).parent / "data"
SPEC = importlib.util.spec_from_file_location("make_of_other_versions", DATA / "make.py")
make = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(make)
pytestmark = pytest.mark.filterwarnings("ignore:torch.distributed is disabled")
ROWS = torch.randn(8, 3, generator=torch.Generator().manual_seed(0))


class Model(nn.Module):
    """A head that is never used, tied weights, a conjugate buffer, an empty one, an extra state."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(3, 3), nn.Linear(3, 3)
        self.unused, self.norm = nn.Linear(3, 3), nn.BatchNorm1d(3)
        self.tied = self.first
        self.register_buffer("phase", torch.tensor([1 + 2j]).conj())
        self.register_buffer("none", torch.empty(0))
        self.seen = 0

    def forward(self, rows):
        return self.second(self.norm(self.first(rows)))

    def get_extra_state(self):
        return {"seen": self.seen, 3: (4,)}

    def set_extra_state(self, state):
        self.seen = state["seen"]


def adam(model):
    return torch.optim.AdamW(model.parameters(), lr=0.1)


def new_run(seed=0, make=adam, dtype=torch.float32, **parts):
    seed_everything(seed)
    model = Model()
    for layer in (model.first, model.second, model.unused, model.norm):
        layer.to(dtype)
    return ShardedRun(model, make(model), ResumableSampler(20), **parts)


def train(run, steps=2):
    for _ in range(steps):
        loss = run.model(ROWS.to(run.model.first.weight.dtype)).square().mean()
        scaler = run.scaler
        (scaler.scale(loss) if scaler else loss).backward()
        if scaler:
            scaler.step(run.optimizer)
            scaler.update()
        else:
            run.optimizer.step()
        run.optimizer.zero_grad()
        if run.scheduler:
            run.scheduler.step()
        if run.ema:
            run.ema.update_parameters(run.model)
        run.step += 1
        run.sampler.advance(1)
    return run


def without_torch(run):
    return {key: value for key, value in run.state_dict().items() if key != "about"}


def same(one, other):
    return differences(without_torch(one), without_torch(other))


def groups(*settings):
    def make(model):
        layers = [model.first, model.second, nn.ModuleList([model.unused, model.norm])]
        named = zip(layers, settings, strict=True)
        return torch.optim.AdamW(
            [{"params": layer.parameters(), **s} for layer, s in named], lr=0.1
        )

    return make


def frozen(model):
    model.first.requires_grad_(False)
    return torch.optim.AdamW(model.parameters(), lr=0.1)


OPTIMIZERS = {
    "unused": adam,
    "groups": groups({"lr": 0.1}, {"betas": (0.5, 0.9)}, {"weight_decay": 0.0}),
    "empty group": lambda model: torch.optim.AdamW(
        [{"params": model.parameters()}, {"params": [], "lr": 1.0}], lr=0.1
    ),
    "only a part": lambda model: torch.optim.AdamW(model.second.parameters(), lr=0.1),
    "tensor lr": lambda model: torch.optim.AdamW(
        model.parameters(), lr=torch.tensor(0.1), foreach=False
    ),
    **{
        kind.__name__: lambda model, kind=kind: kind(model.parameters(), lr=0.05)
        for kind in (
            torch.optim.Adadelta, torch.optim.Adafactor, torch.optim.Adagrad, torch.optim.Adam,
            torch.optim.Adamax, torch.optim.ASGD, torch.optim.NAdam, torch.optim.RAdam,
            torch.optim.RMSprop, torch.optim.Rprop, torch.optim.SGD,
        )
    },
    "momentum": lambda model: torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9),
    "frozen": frozen,
}  # fmt: skip


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_what_was_saved_loads_and_goes_on_bit_for_bit(tmp_path, name, dtype):
    run = train(new_run(0, OPTIMIZERS[name], dtype))
    run.model.seen = 7
    save_sharded(tmp_path, 2, run)
    again = new_run(9, OPTIMIZERS[name], dtype)
    again.model.phase *= 3
    assert load_sharded(tmp_path, again) == 2
    assert same(run, again) == []
    assert again.model.seen == 7
    assert same(train(run), train(again)) == []


def test_a_layer_frozen_after_training_keeps_its_state(tmp_path):
    run, again = train(new_run()), new_run(9)
    run.model.first.requires_grad_(False)
    again.model.first.requires_grad_(False)
    save_sharded(tmp_path, 2, run)
    load_sharded(tmp_path, again)
    assert same(run, again) == []
    assert len(again.optimizer.state) == len(run.optimizer.state) == 6


class Table(nn.Module):
    """Tensors that DCP itself cannot store."""

    def __init__(self):
        super().__init__()
        self.rows = nn.Embedding(4, 2, sparse=True)
        self.register_buffer("graph", torch.rand(3, 3).to_sparse_csr())
        numbers = torch.quantize_per_tensor(torch.rand(3), 0.1, 0, torch.qint8)
        self.register_buffer("small", numbers)


@pytest.mark.filterwarnings("ignore:Sparse", "ignore:torch.quantize", "ignore:.*sparse")
def test_sparse_and_quantized_tensors(tmp_path):
    def new(seed):
        seed_everything(seed)
        table = Table()
        return ShardedRun(table, torch.optim.SparseAdam(table.parameters()), ResumableSampler(2))

    run, again = new(0), new(9)
    for row in (1, 2):
        run.model.rows(torch.tensor([row])).sum().backward()
        if row == 1:
            run.optimizer.step()
            run.optimizer.zero_grad()
    save_sharded(tmp_path, 1, run)
    load_sharded(tmp_path, again)
    assert same(run, again) == []
    assert again.state_dict()["gradients"]["rows.weight"].is_sparse
    assert differences(run.model.graph, new(9).model.graph)


EXTRAS = [None, 3, torch.ones(2), {"a": torch.ones(1), "b": {"c": 2}}, {}]


def test_an_extra_state_may_be_anything_on_either_side(tmp_path):
    def new(seed, extra):
        torch.manual_seed(seed)
        model = nn.ModuleList([Keeps(extra)])
        return ShardedRun(model, torch.optim.SGD(model.parameters(), lr=0.1), ResumableSampler(2))

    for step, there in enumerate(EXTRAS, 1):
        run = new(step, copy.deepcopy(there))
        save_sharded(tmp_path, step, run)
        for here in EXTRAS:
            again, used = new(9, copy.deepcopy(here)), new(9, copy.deepcopy(here)).model
            load_sharded(tmp_path, again)
            load_sharded_model(tmp_path, used)
            assert same(run, again) == []
            assert differences(used.state_dict(), run.model.state_dict()) == []


def test_a_layer_that_has_no_extra_state_here_is_another_one(tmp_path):
    model = Keeps(3)
    save_sharded(tmp_path, 1, ShardedRun(model, torch.optim.SGD(model.parameters(), lr=0.1)))
    other = nn.Linear(2, 2)
    run = ShardedRun(other, torch.optim.SGD(other.parameters(), lr=0.1))
    for load in (load_sharded, lambda folder, run: load_sharded_model(folder, run.model)):
        with pytest.raises(MismatchedCheckpointError, match="_extra_state is there in the file, m"):
            load(tmp_path, run)


# All the parts


def full(seed=0):
    run = new_run(seed)
    parts = {
        "scheduler": schedules.OneCycleLR(run.optimizer, 0.2, total_steps=20),
        "scaler": torch.amp.GradScaler("cpu", 4.0, growth_interval=2),
        "ema": AveragedModel(run.model, multi_avg_fn=get_ema_multi_avg_fn(0.8), use_buffers=True),
        "second": nn.Linear(2, 2, dtype=torch.float64),
        "temperature": nn.Parameter(torch.ones(2)),
        "tokens": 0,
        "config": {"betas": (0.9, 0.99), "empty": {}, "none": None, 3: {"x": {1, 2}}},
    }
    second = torch.optim.SGD([*parts["second"].parameters(), parts["temperature"]], 0.1, 0.9)
    return ShardedRun(run.model, run.optimizer, run.sampler, **parts, second_optimizer=second)


def train_full(run, steps=3):
    for _ in range(steps):
        train(run, 1)
        run.parts["tokens"] += 8
        two = run.parts["second"](torch.ones(2, 2, dtype=torch.float64))
        (two.sum() * run.parts["temperature"].double().sum()).backward()
        run.parts["second_optimizer"].step()
        run.parts["second_optimizer"].zero_grad()
        run.epoch += 1
    return run


@pytest.mark.parametrize("background", [False, True])
def test_every_part_comes_back(tmp_path, background):
    run = train_full(full())
    run.model(ROWS).sum().backward()  # half an accumulation
    run.step = 3
    expected = copy.deepcopy(run.state_dict())
    if background:
        with AsyncSaver(tmp_path) as saver:
            saver.save(3, run)
            run.parts["tokens"] = 99
            for parameter in run.model.parameters():
                parameter.data += 1
    else:
        save_sharded(tmp_path, 3, run)
    again = full(9)
    again.parts["config"] = None
    load_sharded(tmp_path, again)
    found = again.state_dict()
    assert differences(expected, found) == []
    assert len(found["gradients"]) == 6
    assert type(found["config"][3]["x"]) is set
    assert found["scheduler"]["last_epoch"] == 3
    assert "initial_lr" in found["optimizer"]["param_groups"][0]


def test_a_resumed_run_with_every_part_goes_on_bit_for_bit(tmp_path):
    run, again = train_full(full()), full(9)
    save_sharded(tmp_path, 3, run)
    load_sharded(tmp_path, again)
    assert same(train_full(run), train_full(again)) == []


PARTS = ["ema", "scheduler", "scaler", "second", "second_optimizer", "temperature", "tokens"]


@pytest.mark.parametrize("part", PARTS)
def test_a_run_without_a_part_says_so(tmp_path, part):
    save_sharded(tmp_path, 1, full())
    again = full(9)
    if part in again.parts:
        del again.parts[part]
    else:
        setattr(again, part, None)
    if part in ("second", "temperature"):
        del again.parts["second_optimizer"]
    with pytest.raises(MismatchedCheckpointError, match=f"{part} is in the checkpoint only"):
        load_sharded(tmp_path, again)
    load_sharded(tmp_path, again, keep=[part, "second_optimizer"])


def test_the_model_alone_is_for_use(tmp_path):
    run = train_full(full())
    save_sharded(tmp_path, 3, run)
    model = new_run(9).model
    load_sharded_model(tmp_path, model)
    assert differences(run.model.state_dict(), model.state_dict()) == []


def test_if_one_part_fails_nothing_has_changed(tmp_path):
    save_sharded(tmp_path, 3, train_full(full()))
    victim = train_full(full(9), 1)
    before = copy.deepcopy(victim.state_dict())
    victim.scaler.load_state_dict = None  # cannot be called
    with pytest.raises(MismatchedCheckpointError, match="scaler could not be restored"):
        load_sharded(tmp_path, victim)
    del victim.scaler.load_state_dict
    assert differences(before, victim.state_dict()) == []


# Refused when it is saved


def test_lbfgs_is_refused_by_name_when_it_is_saved(tmp_path):
    run = new_run(0, lambda model: torch.optim.LBFGS(model.parameters()))
    with pytest.raises(CheckpointWriteError, match="optimizer: LBFGS keeps one state for all"):
        save_sharded(tmp_path, 1, run)
    assert list(tmp_path.iterdir()) == []


def test_two_values_of_one_dotted_name_are_refused(tmp_path):
    with pytest.raises(CheckpointWriteError, match=r"dotted name mine\.a\.b"):
        save_sharded(tmp_path, 1, new_run(mine={"a.b": 1, "a": {"b": 2}}))


# Refused when it is loaded


def test_another_dtype_is_refused(tmp_path):
    save_sharded(tmp_path, 1, new_run())
    half = new_run(9, dtype=torch.bfloat16)
    words = r"first\.bias is torch\.float32 in the file, torch\.bfloat16 here"
    for load in (load_sharded, lambda folder, run: load_sharded_model(folder, run.model)):
        with pytest.raises(MismatchedCheckpointError, match=words):
            load(tmp_path, half)


def test_other_groups_are_refused_and_the_same_in_another_order_are_not(tmp_path):
    run = train(new_run(0, groups({"lr": 0.1}, {"lr": 0.2}, {"lr": 0.3})))
    save_sharded(tmp_path, 2, run)

    def turned(model):
        optimizer = groups({"lr": 0.1}, {"lr": 0.2}, {"lr": 0.3})(model)
        optimizer.param_groups.reverse()
        return optimizer

    again = new_run(9, turned)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the groups' settings seem to have changed places
        load_sharded(tmp_path, again)
    assert [group["lr"] for group in again.optimizer.param_groups] == [0.3, 0.2, 0.1]
    for p, q in zip(run.model.parameters(), again.model.parameters(), strict=True):
        assert differences(run.optimizer.state.get(p), again.optimizer.state.get(q)) == []
    with pytest.raises(MismatchedCheckpointError, match="groups hold other parameters"):
        load_sharded(tmp_path, new_run(9))


def test_a_changed_setting_is_said(tmp_path):
    save_sharded(tmp_path, 1, new_run())
    other = new_run(9, lambda model: torch.optim.AdamW(model.parameters(), lr=0.5))
    with pytest.warns(UserWarning, match="lr is 0.1 in the checkpoint and 0.5 here"):
        load_sharded(tmp_path, other)
    assert other.optimizer.param_groups[0]["lr"] == 0.1
    load_sharded(tmp_path, other := new_run(9, lambda m: torch.optim.AdamW(m.parameters(), lr=0.5)),
                 keep=["optimizer"])  # fmt: skip
    assert other.optimizer.param_groups[0]["lr"] == 0.5


# DCP's own helper


@pytest.mark.parametrize("name", ["Adam", "NAdam", "RAdam", "Adafactor", "Rprop"])
def test_dcps_helper_steps_an_optimizer_that_never_stepped_and_ours_does_not(tmp_path, name):
    run, asked, saved = (new_run(0, OPTIMIZERS[name]) for _ in range(3))
    get_optimizer_state_dict(asked.model, asked.optimizer)
    assert asked.optimizer.state
    save_sharded(tmp_path, 0, saved)
    assert not saved.optimizer.state
    for one in (run, asked, saved):
        train(one)
    assert differences(run.model.state_dict(), saved.model.state_dict()) == []
    assert differences(run.model.state_dict(), asked.model.state_dict())


def test_dcps_helper_leaves_lbfgs_without_a_learning_rate():
    model = nn.Linear(2, 2)
    optimizer = torch.optim.LBFGS(model.parameters(), lr=0.5)
    with pytest.raises(TypeError):
        get_optimizer_state_dict(model, optimizer)
    assert optimizer.param_groups[0]["lr"] == 0


# The index


def test_an_index_of_a_newer_torch_is_read(tmp_path, monkeypatch):
    """PyTorch 2.15 writes six values for a tensor's properties where 2.14 takes five."""
    run = train(new_run())
    checkpoint = save_sharded(tmp_path, 2, run)
    path = checkpoint / ".metadata"
    before = read_index(path)
    widen(path)
    assert read_index(path) == before
    recommit(checkpoint)
    again = new_run(9)
    load_sharded(tmp_path, again)
    assert same(run, again) == []


@pytest.mark.parametrize("version", ["2_6", "2_15"])
def test_a_folder_that_another_torch_wrote_is_loaded(version):
    run = make.new_run(5.0)
    assert load_sharded(DATA / f"torch_{version}", run) == 2
    assert run.parts["tokens"] == 3
    assert torch.allclose(run.model.weight, torch.full((1, 2), 2.2))
    assert run.model.bias.tolist() == [3.0]
    momentum = run.optimizer.state[run.model.weight]["momentum_buffer"]
    assert momentum.tolist() == [[8.0, 8.0]]
    assert run.model.bias not in run.optimizer.state


def test_an_index_that_another_python_wrote_is_read(tmp_path, monkeypatch):
    """Python 3.11.0 to 3.11.3 pickles a member of an enumeration as an attribute of it."""
    checkpoint = save_sharded(tmp_path, 2, new_run())
    path = checkpoint / ".metadata"
    before, metadata = read_index(path), pickle.loads(path.read_bytes())
    kind = torch.distributed.checkpoint.metadata._MEM_FORMAT_ENCODING
    by_name = lambda member, protocol: (getattr, (kind, member.name))  # noqa: E731
    monkeypatch.setattr(kind, "__reduce_ex__", by_name)
    path.write_bytes(pickle.dumps(metadata))
    assert read_index(path) == before
    for target in (torch.Size, getattr):
        path.write_bytes(pickle.dumps(Reach(target)))
        with pytest.raises(UnsafeCheckpointError, match=r"builtins\.getattr"):
            read_index(path)


class Reach:
    """Reaches for an attribute of something that is allowed."""

    def __init__(self, target):
        self.target = target

    def __reduce__(self):
        return getattr, (self.target, "__init__")


def widen(path):
    """Write an index again, with one more value than this PyTorch has."""
    properties = torch.distributed.checkpoint.metadata.TensorProperties
    metadata = pickle.loads(path.read_bytes())
    five = properties.__getstate__
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(properties, "__getstate__", lambda self: (*five(self)[:5], (3, 1), "more"))
        path.write_bytes(pickle.dumps(metadata))
    with pytest.raises(ValueError, match="too many values"):
        pickle.loads(path.read_bytes())


def recommit(checkpoint):
    names = [path.name for path in checkpoint.iterdir() if path.name != commit.RECORD]
    commit.commit(checkpoint, {name: commit.measure(checkpoint / name) for name in names})


def test_values_that_are_stored_in_an_unknown_way_are_refused_and_not_called_damaged(tmp_path):
    checkpoint = save_sharded(tmp_path, 2, new_run())
    path = checkpoint / ".metadata"
    metadata = pickle.loads(path.read_bytes())
    for place in metadata.storage_data.values():
        place.transform_descriptors = ["zstd"]
    path.write_bytes(pickle.dumps(metadata))
    recommit(checkpoint)
    with pytest.raises(UnsupportedCheckpointError, match=r"transformed \('zstd'\)"):
        load_sharded(tmp_path, new_run())


def test_a_file_of_tensors_leaves_out_the_extra_state_and_says_so(tmp_path):
    save_sharded(tmp_path, 2, new_run())
    with pytest.warns(UserWarning, match="_extra_state is no tensor and is left out"):
        to_one_file(tmp_path, Path(tmp_path / "m.safetensors"))

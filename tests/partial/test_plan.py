"""A plan changes nothing; applying it copies exactly what it says, or nothing."""

import copy
from pathlib import Path

import pytest
import torch
from torch import nn

from course_utils.errors import (
    DamagedCheckpointError,
    MismatchedCheckpointError,
    UnsupportedCheckpointError,
)
from course_utils.lessons.models import MLP, DigitsCNN, TiedAutoencoder
from course_utils.partial import sources
from course_utils.partial.plan import plan_partial_load
from course_utils.partial.shapes import keep_rows


class Counted(nn.Module):
    """A layer with extra state that may refuse what it is given."""

    def __init__(self, calls=0):
        super().__init__()
        self.layer = nn.Linear(2, 2)
        self.calls = calls

    def get_extra_state(self):
        return {"calls": self.calls}

    def set_extra_state(self, state):
        self.calls = state["calls"]
        if self.calls < 0:
            raise ValueError("negative")


def snapshot(model):
    return copy.deepcopy(model.state_dict())


def same(a, b):
    return all(
        torch.equal(a[key], b[key]) if isinstance(a[key], torch.Tensor) else a[key] == b[key]
        for key in a
    )


def io_bytes():
    """Bytes this process has asked the system for, cached or not."""
    return int(Path("/proc/self/io").read_text().split()[1])


@pytest.fixture(params=["state_dict", "file"])
def source_of(request, tmp_path):
    """Pass a state_dict on as it is, or as a file that holds it."""

    def give(state):
        if request.param == "state_dict":
            return state
        torch.save(state, tmp_path / "source.pt")
        return tmp_path / "source.pt"

    return give


# What the plan says


def test_the_plan_says_everything_and_changes_nothing(source_of):
    source = DigitsCNN(num_classes=6).state_dict()
    source["features.0.0.weight"] = source["features.0.0.weight"].double()
    source["ema.decay"] = torch.tensor(0.9)
    del source["features.2.1.running_var"]
    model = DigitsCNN(num_classes=4)
    before = snapshot(model)
    plan = plan_partial_load(model, source_of(source))
    assert len(plan.loaded) == len(before) - 3
    assert plan.missing == ("features.2.1.running_var",)
    assert plan.unexpected == ("ema.decay",)
    assert plan.wrong_shape == {
        "head.weight": ((6, 64), (4, 64)),
        "head.bias": ((6,), (4,)),
    }
    assert plan.wrong_dtype == {"features.0.0.weight": (torch.float64, torch.float32)}
    assert plan.renamed == plan.resized == plan.tied == {}
    assert same(before, model.state_dict())


def test_applying_copies_exactly_what_the_plan_says(source_of):
    source = DigitsCNN(num_classes=6).state_dict()
    model = DigitsCNN(num_classes=4)
    before = snapshot(model)
    plan = plan_partial_load(model, source_of(source))
    plan.apply()
    for key, value in model.state_dict().items():
        assert torch.equal(value, source[key] if key in plan.loaded else before[key]), key


def test_the_report_as_text_and_html():
    model = DigitsCNN(num_classes=4)
    source = DigitsCNN(num_classes=6).state_dict()
    source["<b>"] = torch.zeros(1)
    plan = plan_partial_load(model, source)
    numbers = sum(t.numel() for t in model.state_dict().values())
    share = 1 - (4 * 64 + 4) / numbers
    assert plan.coverage == pytest.approx(share)
    assert f"18 of 20 keys, {share:.1%} of all values" in str(plan)
    assert "head.weight (6, 64) → (4, 64), head.bias (6,) → (4,)" in str(plan)
    assert f'<progress value="{share:.4f}" max="1">' in plan._repr_html_()
    assert "&lt;b&gt;" in plan._repr_html_()
    assert "<b>" not in plan._repr_html_()


@pytest.mark.parametrize(("share", "text"), [(0.00001, "0.1%"), (0.99999, "99.9%"), (1.0, "100%")])
def test_the_headline_never_rounds_to_all_or_nothing(share, text):
    plan = copy.copy(plan_partial_load(MLP(), MLP().state_dict()))
    object.__setattr__(plan, "coverage", share)
    assert f" {text} of all values" in plan.headline


def test_a_checkpoint_with_an_optimizer_beside_the_model(source_of):
    trained = MLP()
    optimizer = torch.optim.Adam(trained.parameters())
    trained(torch.rand(2, 1, 8, 8)).sum().backward()
    optimizer.step()
    model = MLP()
    plan = plan_partial_load(
        model, source_of({"model": trained.state_dict(), "optimizer": optimizer.state_dict()})
    )
    assert plan.renamed["model.head.bias"] == "head.bias"
    plan.apply()
    assert same(trained.state_dict(), model.state_dict())


# Problems 1 and 2: prefixes; 17: strict=False


@pytest.mark.parametrize("wrap", [nn.DataParallel, torch.compile])
def test_prefixes_wrong_way_and_right_way(wrap, source_of):
    trained, model = MLP(), MLP()
    before = snapshot(model)
    state = wrap(trained).state_dict()
    result = model.load_state_dict(state, strict=False)  # wrong: nothing is loaded, nothing said
    assert len(result.missing_keys) == len(before)
    assert same(before, model.state_dict())
    plan = plan_partial_load(model, source_of(state))
    assert len(plan.renamed) == len(before)
    plan.apply()
    assert same(trained.state_dict(), model.state_dict())


def test_a_plan_that_loads_nothing_is_refused(source_of):
    other = nn.ModuleDict({"a": MLP(), "b": MLP()})
    with pytest.raises(MismatchedCheckpointError, match="nothing in it fits") as caught:
        plan_partial_load(MLP(), source_of(other.state_dict()))
    assert "'a.' (4), 'b.' (4)" in str(caught.value)
    plan_partial_load(MLP(), source_of(other.state_dict()), rename=[(r"^b\.", "")]).apply()


def test_a_file_of_tensors_that_are_not_read_is_not_called_empty(tmp_path):
    torch.save({"w": torch.eye(2).to_sparse()}, tmp_path / "a.pt")
    with pytest.raises(
        MismatchedCheckpointError, match=r"no tensors that are read: 'w' is sparse_"
    ):
        plan_partial_load(nn.Linear(2, 2), tmp_path / "a.pt")


def test_all_shapes_wrong_is_nothing_too():
    words = r"nothing in it fits .* 2 keys agree.*'weight' has \(3, 3\), in the model \(2, 2\)"
    with pytest.raises(MismatchedCheckpointError, match=words) as raised:
        plan_partial_load(nn.Linear(2, 2), nn.Linear(3, 3).state_dict())
    assert "prefix" not in str(raised.value)  # '' is none


# Resizing


def test_a_head_with_more_classes(source_of):
    trained, model = MLP(num_classes=6), MLP(num_classes=10)
    new = model.head.weight.detach().clone()
    plan = plan_partial_load(model, source_of(trained.state_dict()), resize={"head.*": keep_rows})
    assert plan.resized["head.weight"] == ((6, 32), (10, 32))
    assert not plan.wrong_shape
    plan.apply()
    assert torch.equal(model.head.weight[:6], trained.head.weight)
    assert torch.equal(model.head.weight[6:], new[6:])


def test_a_pattern_that_fits_no_key_is_refused():
    with pytest.raises(MismatchedCheckpointError, match=r"no key like 'fc\.\*'"):
        plan_partial_load(MLP(), MLP().state_dict(), resize={"fc.*": keep_rows})


@pytest.mark.parametrize(
    ("strategy", "message"),
    [
        (keep_rows, "'head.weight': 10 rows do not fit into 6"),
        (lambda source, target: source, "'head.weight': got shape"),
        (lambda source, target: target.zero_()[:2], "'head.weight': got shape"),
    ],
)
def test_a_strategy_that_fails_leaves_the_model_alone(strategy, message):
    model = MLP(num_classes=6)
    before = snapshot(model)
    plan = plan_partial_load(model, MLP().state_dict(), resize={"head.*": strategy})
    with pytest.raises(MismatchedCheckpointError, match=message):
        plan.apply()
    assert same(before, model.state_dict())


# All or nothing


class _Stubborn(torch.Tensor):
    """Fails when it is written to."""

    @classmethod
    def __torch_function__(cls, func, types, args=(), kwargs=None):
        if func is torch.Tensor.copy_:
            raise RuntimeError("out of memory")
        return super().__torch_function__(func, types, args, kwargs or {})


def test_a_copy_that_fails_half_way_is_undone():
    model = MLP()
    model.head.bias = nn.Parameter(torch.zeros(10).as_subclass(_Stubborn))
    before = {key: value.clone() for key, value in model.state_dict().items()}
    plan = plan_partial_load(model, MLP().state_dict())
    assert plan.loaded[-1] == "head.bias"
    with pytest.raises(RuntimeError, match="out of memory"):
        plan.apply()
    for key in plan.loaded:
        assert torch.equal(torch.Tensor(before[key]), torch.Tensor(model.state_dict()[key])), key


def test_extra_state_that_is_refused_half_way_is_undone():
    model = nn.Sequential(Counted(1), Counted(2))
    before = snapshot(model)
    plan = plan_partial_load(model, nn.Sequential(Counted(3), Counted(-4)).state_dict())
    with pytest.raises(ValueError, match="negative"):
        plan.apply()
    assert same(before, model.state_dict())


def test_a_damaged_file_leaves_the_model_alone(tmp_path):
    path = tmp_path / "damaged.pt"
    trained, model = MLP(), MLP()
    torch.save(trained.state_dict(), path)
    data = bytearray(path.read_bytes())
    at = data.index(trained.head.bias.detach().numpy().tobytes())
    data[at] ^= 1
    path.write_bytes(data)
    before = snapshot(model)
    plan = plan_partial_load(model, path)
    with pytest.raises(DamagedCheckpointError, match=r"head\.bias"):
        plan.apply()
    assert same(before, model.state_dict())


def test_a_model_that_has_changed_since_the_plan_is_refused():
    model = MLP()
    plan = plan_partial_load(model, MLP().state_dict())
    model.head = nn.Linear(32, 4)
    before = snapshot(model)
    with pytest.raises(MismatchedCheckpointError, match=r"'head.weight': got shape \(10, 32\)"):
        plan.apply()
    assert same(before, model.state_dict())


def test_values_may_come_from_the_model_itself():
    model = nn.ModuleDict({"a": nn.Linear(2, 2), "b": nn.Linear(2, 2)})
    before = snapshot(model)
    swap = [(r"^a\.", "c."), (r"^b\.", "a."), (r"^c\.", "b.")]
    plan_partial_load(model, model.state_dict(), rename=swap).apply()
    assert torch.equal(model["a"].weight, before["b.weight"])
    assert torch.equal(model["b"].weight, before["a.weight"])


def test_an_optimizer_built_before_stays_valid():
    model = MLP()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    plan_partial_load(model, MLP().state_dict()).apply()
    loaded = snapshot(model)
    model(torch.rand(4, 1, 8, 8)).sum().backward()
    optimizer.step()
    assert not torch.equal(model.head.bias, loaded["head.bias"])
    assert model.head.bias.requires_grad
    assert model.head.bias.is_leaf


# Problem 21: dtypes


def test_the_model_keeps_its_dtype(source_of):
    trained, model = MLP(), MLP().half()
    plan = plan_partial_load(model, source_of(trained.state_dict()))
    assert plan.wrong_dtype["head.bias"] == (torch.float32, torch.float16)
    plan.apply()
    assert model.head.bias.dtype == torch.float16
    assert torch.equal(model.head.bias, trained.head.bias.half())


@pytest.mark.parametrize(
    ("value", "dtype"), [(1e6, torch.float16), (1e39, torch.float32), (300, torch.int8)]
)
def test_values_that_overflow_wrong_way_and_right_way(value, dtype):
    model = nn.Module()
    model.register_buffer("scale", torch.zeros(2, dtype=dtype))
    wide = torch.int64 if dtype == torch.int8 else torch.float64
    state = {"scale": torch.tensor([value, 1], dtype=wide)}
    model.load_state_dict(state)  # wrong: infinity or a wrapped integer, nothing said
    assert model.scale[0].item() != value
    model.scale.zero_()
    plan = plan_partial_load(model, state)
    with pytest.raises(MismatchedCheckpointError, match="overflow the model's"):
        plan.apply()
    assert model.scale.tolist() == [0, 0]


def test_float8_and_infinities_pass(source_of):
    model = nn.Module()
    model.register_buffer("mask", torch.zeros(2))
    plan_partial_load(model, source_of({"mask": torch.tensor([-torch.inf, 0]).half()})).apply()
    assert model.mask.tolist() == [-torch.inf, 0]
    state = {"mask": torch.tensor([1.5, 0]).to(torch.float8_e4m3fn)}
    plan_partial_load(model, source_of(state)).apply()
    assert model.mask.tolist() == [1.5, 0]


def test_another_kind_of_number_is_refused(source_of):
    model = nn.Module()
    model.register_buffer("count", torch.zeros(2, dtype=torch.int64))
    with pytest.raises(MismatchedCheckpointError, match=r"'count': torch.float32 values cannot"):
        plan_partial_load(model, source_of({"count": torch.tensor([1.5, 2.5])}))


# Problem 20: BatchNorm; 23: tied weights


def test_batch_norm_counters_wrong_way_and_right_way(source_of):
    trained, model = DigitsCNN(), DigitsCNN()
    trained(torch.rand(4, 1, 8, 8))
    old = {k: v for k, v in trained.state_dict().items() if "num_batches" not in k}
    # wrong: a plain dict has no version, so the missing counter is not even reported
    assert not model.load_state_dict(old).missing_keys
    plan = plan_partial_load(model, source_of(old))
    assert [key.rpartition(".")[2] for key in plan.missing] == ["num_batches_tracked"] * 3
    plan = plan_partial_load(model, source_of(trained.state_dict()))
    plan.apply()
    assert not plan.missing
    assert model.features[0][1].num_batches_tracked == 1
    assert torch.equal(model.features[0][1].running_mean, trained.features[0][1].running_mean)


@pytest.mark.parametrize("left_out", ["encoder.weight", "decoder_weight"])
def test_one_of_two_tied_keys_is_enough(left_out, source_of):
    trained, model = TiedAutoencoder(), TiedAutoencoder()
    state = {key: value for key, value in trained.state_dict().items() if key != left_out}
    with pytest.raises(RuntimeError, match="Missing key"):
        model.load_state_dict(state)  # wrong: nothing is missing
    plan = plan_partial_load(model, source_of(state))
    assert not plan.missing
    assert list(plan.tied) == [left_out]
    assert plan.coverage == 1
    plan.apply()
    assert same(trained.state_dict(), model.state_dict())
    assert model.decoder_weight is model.encoder.weight


def test_tied_weights_that_differ_in_the_source_are_refused(source_of):
    model = TiedAutoencoder()
    state = snapshot(TiedAutoencoder())
    state["decoder_weight"] = state["decoder_weight"] + 1
    before = snapshot(model)
    plan = plan_partial_load(model, source_of(state))
    with pytest.raises(MismatchedCheckpointError, match="are one tensor in the model"):
        plan.apply()
    assert same(before, model.state_dict())


# Extra state, meta device, lazy modules


def test_extra_state(source_of):
    model = nn.Sequential(Counted(), Counted())
    plan = plan_partial_load(model, source_of(nn.Sequential(Counted(3), Counted(4)).state_dict()))
    assert "1._extra_state" in plan.loaded
    plan.apply()
    assert [layer.calls for layer in model] == [3, 4]


def test_extra_state_that_a_file_hides_in_objects_is_refused_by_name(tmp_path):
    class Tensorial(Counted):
        def get_extra_state(self):
            return {"scale": torch.ones(2)}

    torch.save(nn.Sequential(Tensorial()).state_dict(), tmp_path / "source.pt")
    with pytest.raises(MismatchedCheckpointError, match=r"'0._extra_state' holds more than plain"):
        plan_partial_load(nn.Sequential(Tensorial()), tmp_path / "source.pt")
    plain = nn.Sequential(nn.ModuleDict({"layer": nn.Linear(2, 2)}))
    plan = plan_partial_load(plain, tmp_path / "source.pt")  # no need of it: no refusal
    assert plan.unexpected == ("0._extra_state",)


def test_a_model_on_meta_wrong_way_and_right_way():
    with torch.device("meta"):
        model = MLP()
    with pytest.warns(UserWarning, match="which is a no-op"):
        model.load_state_dict(MLP().state_dict())  # wrong: a warning, and no values
    assert model.head.weight.is_meta
    with pytest.raises(MismatchedCheckpointError, match=r"'features.1.weight' of the model is on"):
        plan_partial_load(model, MLP().state_dict())


def test_a_non_persistent_buffer_on_meta_is_named():
    model = MLP()
    model.register_buffer("cache", torch.zeros(2, device="meta"), persistent=False)
    model.load_state_dict(MLP().state_dict())  # wrong: "all keys matched"
    with pytest.raises(MismatchedCheckpointError, match="'cache' of the model is on the meta"):
        plan_partial_load(model, MLP().state_dict())


def test_lazy_modules_are_named():
    with pytest.raises(MismatchedCheckpointError, match="'weight' of the model has no shape yet"):
        plan_partial_load(nn.LazyLinear(3), nn.Linear(2, 3).state_dict())


def test_a_source_on_meta_is_named(source_of):
    model = MLP()
    state = MLP().to("meta").state_dict()
    plan = plan_partial_load(model, source_of(state))
    with pytest.raises(MismatchedCheckpointError, match=r"'features.1.weight' is on the meta"):
        plan.apply()


# Reading


@pytest.mark.skipif(not Path("/proc/self/io").exists(), reason="counts bytes with Linux's /proc")
def test_of_a_large_file_only_what_fits_is_read(tmp_path):
    """20 MB of a file of 2 GB that is one hole on the disk, and zeros when read."""
    path = tmp_path / "large.pt"
    flat = torch.empty(512 * 2**20)
    wanted = flat[1000 : 1000 + 5_000_000].view(1000, 5000)
    with torch.serialization.skip_data():
        torch.save({"layer.weight": wanted, "everything": flat}, path)
    size = path.stat().st_size
    assert size > 2 * 10**9
    model = nn.ModuleDict({"layer": nn.Linear(5000, 1000, bias=False)})
    start = io_bytes()
    plan = plan_partial_load(model, path)
    planned = io_bytes()
    plan.apply()
    applied = io_bytes()
    assert planned - start < 100_000
    assert wanted.nbytes <= applied - planned < wanted.nbytes + 100_000
    assert (applied - start) / size < 0.01
    assert not model["layer"].weight.any()


# What a model renames itself


P = nn.utils.parametrizations


def pair(kind):
    """Two layers, for a prefix; the same weights each time."""
    torch.manual_seed(3)
    return nn.Sequential(kind(nn.Linear(4, 3)), nn.Linear(3, 2))


@pytest.mark.filterwarnings("ignore:.*weight_norm.*deprecated")
@pytest.mark.parametrize("wrap", [lambda state: state, lambda state: {"model": state}])
def test_an_older_weight_norm_loads_into_the_newer_as_torch_does(wrap):
    old = pair(nn.utils.weight_norm)
    state = {**old.state_dict()}
    new, by_torch = pair(P.weight_norm), pair(P.weight_norm)
    with torch.no_grad():
        for parameter in [*new.parameters(), *by_torch.parameters()]:
            parameter.zero_()
    plan = plan_partial_load(new, wrap(state))
    assert plan.coverage == 1
    assert "0.parametrizations.weight.original0" in plan.renamed.values()
    plan.apply()
    by_torch.load_state_dict(state)
    assert [*new.state_dict()] == [*by_torch.state_dict()]
    for name, value in by_torch.state_dict().items():
        assert torch.equal(new.state_dict()[name], value)


@pytest.mark.parametrize("harm", ["computes", "drops", "raises"])
def test_a_hook_that_does_more_than_rename_changes_no_plan(harm):
    model = nn.Linear(2, 2)

    def hook(module, state, prefix, *_):
        if harm == "computes":
            state["bias"] = state.pop("bias") * 2
        elif harm == "drops":
            del state["bias"]
        else:
            raise ValueError(state["weight"].tolist())

    model.register_load_state_dict_pre_hook(hook)
    assert plan_partial_load(model, nn.Linear(2, 2).state_dict()).loaded == ("weight", "bias")


def test_a_state_that_holds_itself(source_of):
    state = {"model": nn.Linear(2, 3).state_dict()}
    state["model"]["itself"] = state["model"]
    state["all"] = state
    model = nn.Linear(2, 3)
    plan_partial_load(model, source_of(state)).apply()
    assert same(model.state_dict(), {key: state["model"][key] for key in ("weight", "bias")})


def test_mappings_that_multiply_without_end_are_refused(source_of, monkeypatch):
    monkeypatch.setattr(sources, "MOST", 1000)
    node = {"w": torch.ones(1)}
    for _ in range(30):
        node = {"a": node, "b": node}
    with pytest.raises(UnsupportedCheckpointError, match="multiply without end"):
        plan_partial_load(nn.Linear(2, 3), source_of(node))


def test_a_module_that_was_pickled_whole_gives_its_weights(tmp_path):
    whole, model = DigitsCNN(), DigitsCNN()
    torch.save({"model": whole, "ema": None, "epoch": 3}, tmp_path / "whole.pt")
    plan = plan_partial_load(model, tmp_path / "whole.pt")
    assert set(plan.loaded) == set(model.state_dict())
    assert not plan.unexpected
    plan.apply()
    wanted = whole.state_dict()
    assert all(torch.equal(value, wanted[key]) for key, value in model.state_dict().items())


def test_a_tensor_that_cannot_be_read_is_refused_by_name(tmp_path):
    state = {"weight": torch.eye(2).to_sparse(), "bias": torch.ones(2)}
    torch.save(state, tmp_path / "sparse.pt")
    with pytest.raises(UnsupportedCheckpointError, match="'weight' is there, but not read: sparse"):
        plan_partial_load(nn.Linear(2, 2), tmp_path / "sparse.pt")
    only = {"bias": "bias"}.get  # leaves the other out
    plan = plan_partial_load(nn.Linear(2, 2), tmp_path / "sparse.pt", rename=only)
    assert plan.loaded == ("bias",)
    codes = torch.quantize_per_tensor(torch.eye(2), 0.1, 0, torch.qint8)
    torch.save({"weight": codes}, tmp_path / "codes.pt")
    with pytest.raises(UnsupportedCheckpointError, match="its elements are codes"):
        plan_partial_load(nn.Linear(2, 2), tmp_path / "codes.pt")

"""What safetensors reads back is what was in the checkpoint."""

import importlib
import json
import os
import pickle

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.torch import load_file, load_model
from torch import nn

from course_utils.anatomy import read_archive, read_tensors
from course_utils.ckpt.diff import diff
from course_utils.ckpt.main import main
from course_utils.errors import (
    CheckpointWriteError,
    DamagedCheckpointError,
    MismatchedCheckpointError,
    MissingCheckpointError,
    UnsupportedCheckpointError,
)
from course_utils.files.contents import damaged_records, open_contents
from course_utils.formats import elements
from course_utils.formats.dtypes import SAFETENSORS
from course_utils.formats.elements import blocks
from course_utils.lessons.models import TiedAutoencoder
from course_utils.resume.compare import differences
from course_utils.safety.convert import FLOATS, convert


@pytest.fixture
def files(tmp_path):
    return tmp_path / "model.pt", tmp_path / "model.safetensors"


module = importlib.import_module("course_utils.safety.convert")  # not the function


def metadata_of(path):
    with safe_open(path, "pt") as file:
        return file.metadata()


def test_a_training_state(files):
    model = nn.Linear(3, 2)
    optimizer = torch.optim.Adam(model.parameters())
    model(torch.ones(1, 3)).sum().backward()
    optimizer.step()
    state = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "epoch": 3, "x": {1}}
    torch.save(state, files[0])
    report = convert(*files)
    loaded = load_file(files[1])
    assert len(loaded) == report.tensors == 2 + 6
    assert torch.equal(loaded["model.weight"], model.weight)
    assert torch.equal(
        loaded["optimizer.state.0.exp_avg"], optimizer.state[model.weight]["exp_avg"]
    )
    values = json.loads(metadata_of(files[1])["values"])
    assert values["epoch"] == 3
    assert values["optimizer.param_groups.0.betas"] == [0.9, 0.999]
    assert values["model._metadata..version"] == 1
    assert report.left_out == ("x",)
    assert "left out, as safetensors cannot hold it: x" in str(report)


# Those that this PyTorch has.
HERE = sorted(name for name in SAFETENSORS.values() if hasattr(torch, name))


@settings(deadline=None, max_examples=40)
@given(st.data())
def test_every_dtype_and_layout(tmp_path_factory, data):
    folder = tmp_path_factory.mktemp("any")
    state = {}
    for number in range(data.draw(st.integers(0, 4))):
        dtype = getattr(torch, data.draw(st.sampled_from(HERE)))
        shape = data.draw(st.lists(st.integers(1, 4), min_size=1, max_size=3))
        raw = torch.randint(0, 2, (*shape[:-1], shape[-1] * dtype.itemsize), dtype=torch.uint8)
        tensor = raw.view(dtype)
        tensor = tensor.transpose(0, -1) if data.draw(st.booleans()) else tensor
        state[f"t{number}"] = tensor[1:] if data.draw(st.booleans()) else tensor
    torch.save(state, folder / "a.pt")
    convert(folder / "a.pt", folder / "a.safetensors")
    written = read_archive(folder / "a.safetensors")
    assert not differences(dict(sorted(read_tensors(written, written.tensors).items())), state)
    assert not differences(dict(sorted(load_file(folder / "a.safetensors").items())), state)


def test_tied_weights_are_written_once_and_load_as_safetensors_does(files):
    model, copy = TiedAutoencoder(code=4), TiedAutoencoder(code=4)
    torch.save(model.state_dict(), files[0])
    assert convert(*files).shared == {"encoder.weight": "decoder_weight"}
    load_model(copy, files[1])
    assert copy.decoder_weight is copy.encoder.weight
    assert not differences(copy.state_dict(), model.state_dict())


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
        self.register_buffer("mask", torch.ones(3), persistent=False)
        self.stride = torch.tensor([8.0])
        self.tied = self.body[0].weight


def test_nothing_is_run_and_a_whole_model_gives_its_weights(files):
    model = Net()
    torch.save({"ema": model, "epoch": 3, "names": ["cat"]}, files[0])  # needs Net to load
    report = convert(*files)
    weights = load_file(files[1]) | {
        name: load_file(files[1])[owner] for name, owner in report.shared.items()
    }
    expected = {f"ema.{name}": value for name, value in model.state_dict().items()}
    assert not differences(dict(sorted(weights.items())), dict(sorted(expected.items())))
    assert report.modules == (("ema", f"{__name__}.Net"),)
    assert f"pickled module of class {__name__}.Net" in str(report)
    assert set(report.left_out) == {
        f"ema.{name}, which is no parameter or persistent buffer"
        for name in ("stride", "_buffers.mask")
    }  # fmt: skip
    torch.save(model, files[0])
    convert(*files, overwrite=True)
    missing, unexpected = load_model(Net(), files[1])
    assert (list(missing), list(unexpected)) == ([], [])


class Augmentation(nn.Module):
    def __init__(self):
        super().__init__()
        self.low = torch.zeros(1)  # as Kornia keeps its ranges: no parameter, no buffer


@pytest.mark.parametrize("name", ["new.safetensors", "new.pth"])
@pytest.mark.parametrize("state", [Augmentation(), {"epoch": 3, "model": Augmentation()}])
def test_no_file_is_written_if_all_its_tensors_would_be_left_out(files, capsys, name, state):
    torch.save(state, files[0])
    out = files[0].parent / name
    with pytest.raises(UnsupportedCheckpointError, match=r"no tensor .*low, which is no param"):
        convert(files[0], out, exclude=["nothing"])
    assert not out.exists()
    assert main(["inspect", str(files[0])]) == main(["doctor", str(files[0])]) - 1 == 0
    text = capsys.readouterr().out
    assert "pickled module of class" in text
    assert "ckpt convert" not in text


def test_values_alone_are_written(files):
    torch.save(torch.optim.LBFGS([nn.Parameter(torch.ones(1))]).state_dict(), files[0])
    assert convert(*files).tensors == 0
    assert json.loads(metadata_of(files[1])["values"])["param_groups.0.lr"] == 1


def test_keys_that_are_tuples_are_told_apart(files):
    """So PyTorch Geometric names the edges of a heterogeneous graph."""
    state = {("user", "buys", "item"): torch.ones(2), ("item", 1): torch.zeros(3), (4,): {"lr": 1}}
    torch.save(state, files[0])
    convert(*files)
    written = load_file(files[1])
    assert sorted(written) == ["('item', 1)", "('user', 'buys', 'item')"]
    assert torch.equal(written["('user', 'buys', 'item')"], torch.ones(2))
    assert json.loads(metadata_of(files[1])["values"]) == {"(4,).lr": 1}


def test_large_tensors_come_in_blocks(files, monkeypatch):
    monkeypatch.setattr(elements, "BLOCK", 64)
    state = {"w": torch.arange(100.0), "t": torch.arange(100.0).view(10, 10).T}
    torch.save(state, files[0])
    assert [len(block) for block in blocks(open_contents(files[0]), "w")] == [64] * 6 + [16]
    convert(*files)
    assert not differences(load_file(files[1]), {"t": state["t"], "w": state["w"]})


def test_damage_is_found_and_nothing_is_written(files):
    torch.save({"w": torch.arange(100), "b": torch.ones(2)}, files[0])
    record = open_contents(files[0]).records["data/0"]
    data = bytearray(files[0].read_bytes())
    data[record.offset + 7] ^= 1
    files[0].write_bytes(data)
    assert list(damaged_records(files[0])) == ["data/0"]
    with pytest.raises(DamagedCheckpointError, match="record data/0: its bytes have changed"):
        convert(*files)
    assert os.listdir(files[0].parent) == ["model.pt"]


@pytest.mark.parametrize(
    ("tensor", "words"),
    [
        (torch.empty(2, device="meta"), "meta device"),
        (torch.ones(1, dtype=torch.complex128), "complex128, which safetensors does not have"),
        (torch.ones(1).expand(10**9), "repeat elements"),
        (torch.eye(2).to_sparse(), "sparse_coo"),
        (torch.nested.nested_tensor([torch.ones(2), torch.ones(3)]), "nested tensor"),
        (torch.quantize_per_tensor(torch.ones(2), 0.1, 0, torch.qint8), "quantized"),
    ],
)
def test_what_cannot_be_written_is_refused(files, tensor, words):
    torch.save({"w": tensor, "b": torch.ones(1)}, files[0])
    with pytest.raises(UnsupportedCheckpointError, match=words) as caught:
        convert(*files)
    assert "tensor" in str(caught.value)
    assert not files[1].exists()
    if words != "repeat elements":
        assert convert(*files, exclude=["w"]).excluded == ("w",)
        assert list(load_file(files[1])) == ["b"]


def test_safetensors_files_are_opened_too(files):
    torch.save({"w": torch.arange(6.0).view(2, 3)}, files[0])
    convert(*files)
    archive = open_contents(files[1])
    assert archive.tensors["w"].shape == (2, 3)
    assert b"".join(blocks(archive, "w")) == torch.arange(6.0).numpy().tobytes()
    files[1].write_bytes(files[1].read_bytes()[:-1])
    with pytest.raises(DamagedCheckpointError):
        open_contents(files[1])
    with pytest.raises(MissingCheckpointError):
        open_contents(files[1].with_name("no.safetensors"))


class Sub(torch.Tensor):
    pass


def noted(tensor):
    tensor.note = 3
    return tensor


@pytest.mark.parametrize(
    ("state", "lost"),
    [
        ({"t": noted(torch.ones(2))}, "t's attributes"),
        ({"t": noted(nn.Parameter(torch.ones(2)))}, "t's attributes"),
        ({"t": torch.ones(2).as_subclass(Sub)}, f"t's class, {__name__}.Sub"),
        ({"s": torch.ones(1).untyped_storage(), "t": torch.ones(1)}, "s"),
        (
            {torch.ones(2): 1, "t": torch.ones(1)},
            "record data/0, which no tensor with a name shows",
        ),
        ({"a": {"b": 1}, "a.b": 2, "t": torch.ones(1)}, "a.b"),
        ({"best": float("inf"), "t": torch.ones(1)}, "best"),
        ({"b": b"x", "t": torch.ones(1)}, "b"),
    ],
)
def test_what_is_lost_is_listed(files, state, lost):
    torch.save(state, files[0])
    report = convert(*files)
    assert lost in report.left_out
    assert f": {lost}" in str(report)
    assert list(load_file(files[1])) == ["t"]


@pytest.mark.parametrize(
    ("state", "error", "words"),
    [
        ({"a": {"b": torch.ones(1)}, "a.b": torch.zeros(1)}, UnsupportedCheckpointError,
         "two tensors have the dotted name a.b"),
        ({1: torch.ones(1), "1": torch.zeros(1)}, UnsupportedCheckpointError, "dotted name 1"),
        ({"__metadata__": torch.ones(1)}, UnsupportedCheckpointError, "keeps for itself"),
        ({"a\ud800": torch.ones(1)}, UnsupportedCheckpointError, "no Unicode"),
    ],
)  # fmt: skip
def test_names_that_cannot_be_are_refused_and_can_be_renamed(files, state, error, words):
    torch.save(state, files[0])
    with pytest.raises(error, match=words):
        convert(*files)
    assert not files[1].exists()
    pairs = [("'$", "2"), ("^__metadata__$", "m"), ("\ud800", "b")]
    assert convert(*files, rename=pairs).tensors == len(load_file(files[1]))


def test_weights_to_publish(files):
    model = nn.DataParallel(nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2)))
    torch.save({"state_dict": model.state_dict(), "opt": {"m": torch.ones(2)}, "n": 1}, files[0])
    report = convert(
        *files, key="state_dict", exclude=["*.num_batches_tracked"], only=["module.*"],
        rename=[("^module", "net")], dtype="float16",
    )  # fmt: skip
    loaded = load_file(files[1])
    expected = {
        key.replace("module", "net"): value.half()
        for key, value in model.state_dict().items() if "num_batches" not in key
    }  # fmt: skip
    assert not differences(dict(sorted(loaded.items())), dict(sorted(expected.items())))
    assert set(report.excluded) == {"opt.m", "state_dict.module.1.num_batches_tracked"}
    assert json.loads(metadata_of(files[1])["values"])["_metadata..version"] == 1
    for options, words in [
        ({"key": "nothing"}, "no tensor stands under 'nothing'. There are: opt, state_dict"),
        ({"only": ["x*"]}, "no tensor matches"),
        ({"rename": [("^.*$", "same")]}, "would both be called 'same'"),
    ]:
        with pytest.raises(MismatchedCheckpointError, match=words):
            convert(*files, overwrite=True, **options)
    with pytest.raises(ValueError, match="int8"):
        convert(*files, dtype="int8")


@pytest.mark.parametrize("wanted", FLOATS)
@pytest.mark.parametrize(
    "dtype", ["float64", "float32", "float16", "bfloat16", "float8_e4m3fn", "float8_e5m2"]
)
def test_numbers_are_rounded_as_torch_does(files, dtype, wanted):
    torch.manual_seed(0)
    values = torch.cat([torch.randn(3000), 2.0 ** torch.arange(-30, 15)]).to(getattr(torch, dtype))
    values = torch.cat([values, torch.tensor([0.0, -0.0, torch.nan]).to(values.dtype)])
    torch.save({"w": values, "n": torch.arange(3)}, files[0])
    convert(*files, dtype=wanted)
    loaded = load_file(files[1])
    expected = values.to(getattr(torch, wanted))
    assert torch.equal(loaded["w"].nan_to_num(7), expected.nan_to_num(7))
    assert torch.equal(loaded["w"].isnan(), expected.isnan())
    assert torch.equal(loaded["w"].signbit()[-3:-1], expected.signbit()[-3:-1])
    assert torch.equal(loaded["n"], torch.arange(3))


def test_numbers_beyond_the_range_are_refused(files):
    torch.save({"w": torch.tensor([1.0, 1e6, torch.inf])}, files[0])
    with pytest.raises(UnsupportedCheckpointError, match="1 of its elements are beyond"):
        convert(*files, dtype="float16")
    assert not files[1].exists()


def test_back_to_a_checkpoint(files, tmp_path):
    state = {
        "a": torch.rand(3, 4).T, "b": torch.ones(2).bfloat16(),
        "c": torch.arange(3).to(torch.uint16),
        "d": torch.rand(4).to(torch.float8_e4m3fn), "e": torch.ones(()), "f": torch.empty(0, 3),
        "z": torch.tensor([1j]).conj(),
    }  # fmt: skip
    state["tied"] = state["a"]
    torch.save({**state, "epoch": 3}, files[0])
    convert(*files)
    report = convert(files[1], tmp_path / "back.pt")
    loaded = torch.load(tmp_path / "back.pt", weights_only=True)
    assert not differences(dict(sorted(loaded.items())), dict(sorted(state.items())))
    assert loaded["tied"] is loaded["a"]
    assert all(tensor.is_contiguous() for tensor in loaded.values())
    assert report.left_out == ("values",)
    assert not damaged_records(tmp_path / "back.pt")
    assert diff(files[0], tmp_path / "back.pt", tensors_only=True).same


def test_a_checkpoint_of_weights_from_a_checkpoint(files, tmp_path):
    model = nn.Linear(2, 2)
    torch.save({"model": model, "epoch": 3}, files[0])
    report = convert(files[0], tmp_path / "w.pt", key="model", dtype="bfloat16")
    loaded = torch.load(tmp_path / "w.pt")
    assert not differences(dict(loaded), dict(model.bfloat16().state_dict()))
    assert not any(tensor.requires_grad for tensor in loaded.values())
    assert report.kind == "checkpoint"


def test_a_later_protocol_becomes_loadable(files, tmp_path):
    state = {"w": torch.rand(3), "b": b"x", "n": {1, 2}, "z": [1, (2,)]}
    torch.save(state, files[0], pickle_protocol=4)
    with pytest.raises(pickle.UnpicklingError):
        torch.load(files[0], weights_only=True)
    convert(files[0], tmp_path / "new.pt")
    loaded = torch.load(tmp_path / "new.pt", weights_only=True)
    assert torch.equal(loaded.pop("w"), state.pop("w"))
    assert loaded == state
    assert diff(files[0], tmp_path / "new.pt").same


def test_nothing_is_overwritten_unasked_and_never_the_source(files):
    torch.save({"w": torch.ones(2)}, files[0])
    before = files[0].read_bytes()
    files[1].write_text("mine")
    with pytest.raises(CheckpointWriteError, match="exists already"):
        convert(*files)
    with pytest.raises(CheckpointWriteError, match="the file that is read"):
        convert(files[0], files[0], overwrite=True)
    assert (files[0].read_bytes(), files[1].read_text()) == (before, "mine")
    assert convert(*files, overwrite=True).tensors == 1


def test_a_fault_of_our_own_is_found_before_the_file_is_kept(files, monkeypatch, tmp_path):
    torch.save({"w": torch.arange(9.0)}, files[0])
    monkeypatch.setattr(module, "blocks_of", lambda contents, info: iter([bytes(36)]))
    convert(files[0], tmp_path / "zeros.safetensors")  # the comparison reads the same zeros
    once = iter([bytes(36), b"\1" * 36])
    monkeypatch.setattr(module, "blocks_of", lambda contents, info: iter([next(once)]))
    with pytest.raises(DamagedCheckpointError, match="not what it was made from: tensor w"):
        convert(*files)
    assert not files[1].exists()

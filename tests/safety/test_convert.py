"""What safetensors reads back is what was in the checkpoint."""

import json
import os

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.torch import load_file, load_model
from torch import nn

from course_utils.anatomy import read_archive, read_tensors
from course_utils.errors import (
    DamagedCheckpointError,
    MissingCheckpointError,
    UnsupportedCheckpointError,
)
from course_utils.files.contents import damaged_records, open_contents
from course_utils.formats import elements
from course_utils.formats.dtypes import SAFETENSORS
from course_utils.formats.elements import blocks
from course_utils.lessons.models import TiedAutoencoder
from course_utils.resume.compare import differences
from course_utils.safety.convert import convert


@pytest.fixture
def files(tmp_path):
    return tmp_path / "model.pt", tmp_path / "model.safetensors"


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


@settings(deadline=None, max_examples=40)
@given(st.data())
def test_every_dtype_and_layout(tmp_path_factory, data):
    folder = tmp_path_factory.mktemp("any")
    state = {}
    for number in range(data.draw(st.integers(0, 4))):
        dtype = getattr(torch, data.draw(st.sampled_from(sorted(SAFETENSORS.values()))))
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


def test_nothing_is_run_and_a_whole_model_gives_its_weights(files):
    torch.save(nn.Sequential(nn.Linear(2, 2)), files[0])  # needs torch.nn to load
    convert(*files)
    assert len(load_file(files[1])) == 2


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
    ],
)
def test_what_cannot_be_written_is_refused(files, tensor, words):
    torch.save({"w": tensor}, files[0])
    with pytest.raises(UnsupportedCheckpointError, match=words):
        convert(*files)


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

"""A slimmed file shows the same tensors, is never larger, and is compared before it is kept."""

import os
import re

import hostile
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file
from torch import nn

from course_utils.ckpt import slim as slim_module
from course_utils.ckpt.slim import slim
from course_utils.errors import (
    CheckpointWriteError,
    DamagedCheckpointError,
    UnsupportedCheckpointError,
)
from course_utils.files.contents import damaged_records, open_contents
from course_utils.resume.compare import differences


@pytest.fixture
def files(tmp_path):
    return tmp_path / "a.pt", tmp_path / "out.pt"


def places(tensor):
    """The addresses of a tensor's elements."""
    found = torch.tensor([tensor.data_ptr()])
    for length, step in zip(tensor.shape, tensor.stride(), strict=True):
        found = (found[:, None] + torch.arange(length) * step * tensor.itemsize).flatten()
    return set(found.tolist())


def test_what_is_not_shown_goes(files):
    state = {
        "a": torch.rand(100_000)[:5],
        "b": torch.rand(3),
        "n": 3,
        "column": torch.rand(999, 9)[:, 2],
    }
    torch.save(state, files[0])
    done = slim(*files)
    assert (done.before, done.after) == tuple(file.stat().st_size for file in files)
    assert done.after < 10_000
    assert not differences(torch.load(files[1]), state)
    assert not damaged_records(files[1])


tensors = st.tuples(
    st.sampled_from([torch.float32, torch.int64, torch.complex64, torch.bool, torch.uint16]),
    st.integers(0, 300),
)


@st.composite
def states(draw):
    """Tensors that show parts of a few storages in all ways."""
    state = {}
    for base in range(draw(st.integers(1, 3))):
        dtype, rows = draw(tensors)
        memory = torch.randint(0, 2, (rows, 6)).to(dtype)
        for view in range(draw(st.integers(1, 4))):
            start, stop = (draw(st.integers(0, rows)) for _ in range(2))
            tensor = memory[start : stop : draw(st.sampled_from([1, 1, 2]))]
            shape = draw(st.sampled_from(["plain", "turned", "column", "repeated", "twin", "conj"]))
            if shape == "turned":
                tensor = tensor.T
            if shape == "column":
                tensor = tensor[:, 2]
            if shape == "repeated":
                tensor = tensor[:1].expand(min(len(tensor), 1) * 4, 6)
            if shape == "twin" and state:
                tensor = draw(st.sampled_from(list(state.values())))
            if shape == "conj" and dtype.is_complex:
                tensor = tensor.conj()
            state[f"{base}.{view}"] = tensor
    return state


@settings(deadline=None, max_examples=40)
@given(states())
def test_every_view_survives_and_no_file_grows(tmp_path_factory, state):
    folder = tmp_path_factory.mktemp("slim")
    torch.save(state, folder / "a.pt")
    done = slim(folder / "a.pt", folder / "b.pt")
    loaded = torch.load(folder / "b.pt")
    assert not differences(loaded, state)
    assert done.after <= done.before
    assert slim(folder / "b.pt", folder / "c.pt").after == done.after
    before, after = ({name: places(t) for name, t in s.items()} for s in (state, loaded))
    for one in state:
        for two in state:
            assert len(before[one] & before[two]) == len(after[one] & after[two])


def test_overlapping_views_are_written_once(files):
    whole = torch.randn(100_000)
    torch.save({"q": whole, "again": whole[:99_000], "third": whole[1000:]}, files[0])
    assert slim(*files).after == files[0].stat().st_size
    assert files[1].read_bytes() == files[0].read_bytes()  # nothing to slim: a copy


def test_all_that_is_no_view_is_kept(files):
    weight = torch.arange(100, dtype=torch.uint8).repeat(10)
    part = nn.Parameter(torch.rand(50_000)[:2])
    part.note = "mine"
    sparse = torch.sparse_coo_tensor([[0, 1]], torch.rand(9000)[:2], (4,))
    state = {
        "storage": weight.untyped_storage(), "view": weight[:3], "part": part, "sparse": sparse,
        "meta": torch.empty(3, device="meta"), "none": None,
        "quantized": torch.quantize_per_tensor(torch.rand(4000), 0.1, 0, torch.qint8)[:4],
    }  # fmt: skip
    torch.save(state, files[0])
    assert slim(*files).after < 16_000 < files[0].stat().st_size
    loaded = torch.load(files[1])
    assert bytes(loaded["storage"]) == bytes(weight.untyped_storage())
    assert loaded["view"].untyped_storage().data_ptr() == loaded["storage"].data_ptr()
    assert torch.equal(loaded["part"], part)
    assert torch.equal(loaded["sparse"].to_dense(), sparse.to_dense())
    assert torch.equal(loaded["quantized"].int_repr(), state["quantized"].int_repr())
    assert loaded["meta"].shape == (3,)


def test_memory_formats_stay(files):
    state = {"x": torch.rand(9, 3, 4, 5).to(memory_format=torch.channels_last)[:2]}
    torch.save(state, files[0])
    slim(*files)
    assert torch.load(files[1])["x"].is_contiguous(memory_format=torch.channels_last)


def test_nothing_is_overwritten_unasked_and_never_the_source(files):
    torch.save({"a": torch.rand(1000)[:5]}, files[0])
    before = files[0].read_bytes()
    files[1].write_text("mine")
    with pytest.raises(CheckpointWriteError, match="exists already"):
        slim(*files)
    assert files[1].read_text() == "mine"
    files[1].unlink()
    os.link(*files)
    for out in files:
        with pytest.raises(CheckpointWriteError, match="the file that is read"):
            slim(files[0], out, overwrite=True)
    assert files[0].read_bytes() == before
    files[1].unlink()
    files[1].write_text("mine")
    assert slim(*files, overwrite=True).after == files[1].stat().st_size
    assert len(os.listdir(files[0].parent)) == 2


def test_a_fault_of_our_own_is_found_before_the_file_is_kept(files, monkeypatch):
    torch.save({"a": torch.arange(1000.0)[7:9]}, files[0])
    monkeypatch.setattr(slim_module.View, "start", property(lambda view: 0))
    with pytest.raises(DamagedCheckpointError, match="not what it was made from"):
        slim(*files)
    assert os.listdir(files[0].parent) == ["a.pt"]


def test_what_cannot_be_slimmed_says_so(files):
    save_file({"a": torch.ones(2)}, files[0])
    with pytest.raises(UnsupportedCheckpointError, match="nothing to slim"):
        slim(*files)
    files[0].write_bytes(hostile.zip_checkpoint(b"\x80\x02(ios\nsystem\n."))
    with pytest.raises(UnsupportedCheckpointError, match=re.escape("os.system by INST")):
        slim(files[0], files[1], overwrite=True)
    files[0].write_bytes(hostile.zip_checkpoint(b"\x80\x02" + hostile.tensor(shape=(5,)) + b"."))
    with pytest.raises(UnsupportedCheckpointError, match="reaches beyond its storage"):
        slim(files[0], files[1], overwrite=True)


def test_a_damaged_file_is_refused(files):
    torch.save({"a": torch.rand(1000)[:5]}, files[0])
    record = open_contents(files[0]).records["data/0"]
    data = bytearray(files[0].read_bytes())
    data[record.offset + 3000] ^= 1  # where no tensor looks: the checksum covers it all the same
    files[0].write_bytes(data)
    with pytest.raises(DamagedCheckpointError, match="data/0"):
        slim(*files)
    assert not files[1].exists()

"""The archive we write is the one torch writes, whatever the sizes and the file system."""

import contextlib
import errno
import io
import os
import struct
import warnings
import zipfile
from pathlib import Path
from unittest import mock

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from course_utils.checkpoint import load_checkpoint, save_checkpoint
from course_utils.checkpoint.torch_versions import version
from course_utils.errors import CheckpointWriteError
from course_utils.files import direct_io as blocks
from course_utils.files import zip_writer as zipwriter
from course_utils.formats.zip_layout import LIMIT, Entry, directory, local_header


@pytest.fixture
def path(tmp_path):
    return tmp_path / "model.pt"


@pytest.fixture
def small_blocks(monkeypatch):
    """Blocks and steps so small that a few kilobytes cross many of them."""
    monkeypatch.setattr(blocks, "BLOCK", 4096)
    monkeypatch.setattr(zipwriter, "BLOCK", 4096)
    monkeypatch.setattr(blocks, "STEP", 1000)
    monkeypatch.setattr(zipwriter, "STEP", 1000)


def torchs_bytes(state):
    buffer = io.BytesIO()
    torch.save(state, buffer)
    return buffer.getvalue()


def mixed_state():
    base = torch.arange(100.0)
    return {
        "view": base[3:9],
        "same memory": base,
        "empty": torch.empty(0, 3),
        "scalar": torch.tensor(2, dtype=torch.int16),
        "parameter": torch.nn.Parameter(torch.ones(3, 4).T),
        "flags": [True, None, 1.5, "x", (2**40,)],
    }


def test_byte_for_byte_torchs_file_but_for_crcs_and_sizes_in_the_headers(path):
    """Torch leaves those zero before the data; it draws another serialization id."""
    state = mixed_state()
    save_checkpoint(path, state)
    ours, theirs = bytearray(path.read_bytes()), bytearray(torchs_bytes(state))
    if version() < (2, 7):  # which wrote two records fewer, so all others lay elsewhere
        added = {"archive/.format_version", "archive/.storage_alignment"}
        contents = [records_of(io.BytesIO(content)) for content in (ours, theirs)]
        assert contents[0].keys() - contents[1].keys() == added
        assert {**contents[0], **contents[1]} == contents[0]
        return
    assert len(ours) == len(theirs)
    with zipfile.ZipFile(path) as archive:
        for info in archive.infolist():
            sizes = slice(info.header_offset + 14, info.header_offset + 26)
            assert ours[sizes] == struct.pack("<3I", info.CRC, info.file_size, info.file_size)
            assert theirs[sizes] == bytes(12)
            ours[sizes] = bytes(12)
        end = archive.getinfo("archive/.data/serialization_id").header_offset
        last = archive.start_dir + 46 * len(archive.infolist())
    assert ours[:end] == theirs[:end]
    assert path.read_bytes()[last:].count(b"serialization_id") == 1


def records_of(file):
    with zipfile.ZipFile(file) as archive:
        names = [name for name in archive.namelist() if not name.endswith("serialization_id")]
        return {name: archive.read(name) for name in names}


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(sizes=st.lists(st.integers(0, 30_000), max_size=8))
def test_records_that_cross_blocks(small_blocks, tmp_path, sizes):
    """Each header's CRC-32 is patched while its block waits; zipfile and torch agree with it."""
    generator = torch.Generator().manual_seed(len(sizes))
    state = [torch.randint(256, (n,), dtype=torch.uint8, generator=generator) for n in sizes]
    path = save_checkpoint(tmp_path / "model.pt", state)
    assert all(map(torch.equal, torch.load(path), state))
    content = path.read_bytes()
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None
        for info in archive.infolist():
            (crc32,) = struct.unpack_from("<I", content, info.header_offset + 14)
            assert crc32 == info.CRC, info.filename


def test_without_direct_writes(small_blocks, path, monkeypatch):
    monkeypatch.setattr(blocks, "_set_direct", lambda *_: False)
    save_checkpoint(path, mixed_state())
    assert load_checkpoint(path)["view"].tolist() == mixed_state()["view"].tolist()


def test_direct_writes_that_the_file_system_promises_but_refuses(small_blocks, path, monkeypatch):
    pwrite, refused = os.pwrite, []

    def refuse_direct(descriptor, data, position):
        if not refused:
            refused.append(position)
            raise OSError(errno.EINVAL, "Invalid argument")
        return pwrite(descriptor, data, position)

    monkeypatch.setattr(os, "pwrite", refuse_direct)
    save_checkpoint(path, {"weight": torch.arange(9000)})
    assert refused
    assert torch.equal(load_checkpoint(path)["weight"], torch.arange(9000))


def test_short_writes_are_continued(small_blocks, path, monkeypatch):
    pwrite = os.pwrite
    monkeypatch.setattr(os, "pwrite", lambda fd, data, at: pwrite(fd, data[:512], at))
    save_checkpoint(path, {"weight": torch.arange(9000)})
    assert torch.equal(load_checkpoint(path)["weight"], torch.arange(9000))


@pytest.mark.parametrize("error", [MemoryError(), OSError(5, "Input/output error")])
def test_an_error_in_the_writing_thread_ends_the_save(small_blocks, path, monkeypatch, error):
    def fail(*_):
        raise error

    monkeypatch.setattr(os, "pwrite", fail)
    with pytest.raises((MemoryError, CheckpointWriteError)):
        save_checkpoint(path, {"weight": torch.arange(9000)})
    assert os.listdir(path.parent) == []


def test_a_system_that_writes_nothing(small_blocks, path, monkeypatch):
    monkeypatch.setattr(os, "pwrite", lambda *_: 0)
    with pytest.raises(CheckpointWriteError, match="input/output"):
        save_checkpoint(path, {"weight": torch.arange(9000)})


def test_memory_of_another_device_goes_through_a_buffer(small_blocks, path, monkeypatch):
    """Without a GPU: let the writer take the CPU for a device, without pinning."""
    empty, buffers = torch.empty, []

    def recording(*arguments, pin_memory=False, **options):
        made = empty(*arguments, **options)
        if pin_memory:
            buffers.append(made)
        return made

    monkeypatch.setattr(torch, "empty", recording)
    monkeypatch.setattr(zipwriter, "_is_on_cpu", lambda storage: False)
    state = {"large": torch.arange(9000), "small": torch.arange(9)}
    save_checkpoint(path, state)
    assert torch.equal(torch.load(path)["large"], state["large"])
    assert torch.equal(torch.load(path)["small"], state["small"])
    assert max(map(len, buffers)) <= 4096


@pytest.mark.parametrize("size", [LIMIT - 1, LIMIT, LIMIT + 5])
@pytest.mark.parametrize("header", [0, 703, LIMIT - 1, LIMIT, LIMIT + 703])
def test_zip64_fields_as_torch_writes_them(size, header):
    """Python's zipfile reads back a directory with sizes and positions beyond 32 bits."""
    entry = Entry(b"archive/data/0", header, size, crc32=7)
    start = header + size + 1000
    end = directory([entry], start)
    assert len(local_header(entry, 64)) % 64 == -header % 64
    (info,) = zipfile.ZipFile(_AtTheEnd(end, start)).infolist()
    assert (info.header_offset, info.file_size, info.CRC) == (header, size, 7)


class _AtTheEnd(io.RawIOBase):
    """A file of which only the end is in memory."""

    def __init__(self, end, start):
        self.end, self.start, self.position = end, start, 0

    def seekable(self):
        return True

    def readable(self):
        return True

    def seek(self, offset, whence=0):
        size = self.start + len(self.end)
        self.position = offset + (0, self.position, size)[whence]
        return self.position

    def tell(self):
        return self.position

    def read(self, count=-1):
        first = self.position - self.start
        data = self.end[first:] if count < 0 else self.end[first : first + count]
        self.position += len(data)
        return data


def test_torch_itself_computes_our_offsets(path):
    """It derives each record's position from the sizes before: our layout is its own."""
    save_checkpoint(path, mixed_state())
    computed = contextlib.nullcontext()
    if version() >= (2, 7):  # before, it could only read each record's header
        computed = torch.utils.serialization.config.patch("load.calculate_storage_offsets", True)
    with (
        computed,
        mock.patch.dict(os.environ, TORCH_SERIALIZATION_DEBUG="1"),
    ):
        loaded = torch.load(path, mmap=True)
    assert torch.equal(loaded["same memory"], torch.arange(100.0))


def test_views_keep_their_storage_unless_compact(path):
    whole = torch.arange(100_000.0)
    state = {"view": whole[5:10], "transposed": whole[:12].view(3, 4).T, "whole": whole}
    loaded = load_checkpoint(save_checkpoint(path, state))
    assert loaded["view"].untyped_storage().data_ptr() == loaded["whole"].data_ptr()
    del state["whole"]
    assert save_checkpoint(path, state).stat().st_size > 400_000
    assert save_checkpoint(path, state, compact=True).stat().st_size < 4_000
    loaded = load_checkpoint(path)
    assert all(torch.equal(loaded[name], state[name]) for name in state)


def test_compact_keeps_whole_tensors_shared_and_gradients_wanted(path):
    weight = torch.ones(10, requires_grad=True)
    state = {"a": weight, "b": weight, "row": torch.nn.Parameter(torch.ones(9, 9)[2])}
    loaded = load_checkpoint(save_checkpoint(path, state, compact=True))
    assert loaded["a"].data_ptr() == loaded["b"].data_ptr()
    assert loaded["a"].requires_grad
    assert isinstance(loaded["row"], torch.nn.Parameter)
    assert loaded["row"].untyped_storage().nbytes() == 36


@pytest.mark.filterwarnings("ignore:Validating sparse", "ignore:TypedStorage is deprecated")
@pytest.mark.parametrize(
    "value",
    [
        torch.eye(3).to_sparse(),
        torch.ones(2, 3, device="meta"),
        torch.ones(3, dtype=torch.bfloat16),
        torch.ones(3, dtype=torch.complex64).conj(),
        torch.ones(3, dtype=torch.float8_e4m3fn),
        torch.arange(3).untyped_storage(),
    ],
    ids=str,
)
def test_unusual_tensors_are_saved_as_torch_does(path, value):
    save_checkpoint(path, {"value": value})
    loaded = torch.load(path, weights_only=True)["value"]
    assert repr(loaded) == repr(torch.load(io.BytesIO(torchs_bytes(value))))


def test_what_only_torch_can_save(path):
    with torch.serialization.skip_data():  # leaves a hole for the data
        save_checkpoint(path, {"weight": torch.ones(1000)})
    assert torch.load(path)["weight"].shape == (1000,)


def test_one_memory_seen_as_two_types_is_refused_as_by_torch(path):
    weight = torch.ones(4)
    with pytest.raises(RuntimeError, match="different types"):
        save_checkpoint(path, [weight, weight.view(torch.int32)])
    assert not path.exists()


def test_a_state_that_a_safe_load_would_refuse_is_announced(path):
    with pytest.warns(UserWarning, match=r"pathlib.*PosixPath.*refuse"):
        save_checkpoint(path, {"folder": Path("runs")})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        save_checkpoint(path, mixed_state())
        with torch.serialization.safe_globals([Path]):
            save_checkpoint(path, {"classes": {1, 2}, "kind": Path, "type": torch.float16})

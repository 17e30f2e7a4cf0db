"""What load_checkpoint answers to files that are damaged, foreign or unsafe."""

import errno
import io
import os
import pickle
import re
import warnings
import zipfile
from collections import OrderedDict
from pathlib import Path
from types import MappingProxyType
from unittest import mock

import pytest
import torch
from safetensors.torch import save_file
from torch import nn
from zlib_ng import zlib_ng

from course_utils.checkpoint import CheckpointManager, load, load_checkpoint, save, save_checkpoint
from course_utils.checkpoint.pickler import PickledState
from course_utils.checkpoint.torch_versions import version
from course_utils.errors import (
    CheckpointError,
    CheckpointWriteError,
    DamagedCheckpointError,
    MissingCheckpointError,
    NotACheckpointError,
    UnreadableCheckpointError,
    UnsafeCheckpointError,
    UnsupportedCheckpointError,
)
from course_utils.files import zip_writer
from course_utils.files.contents import open_contents
from course_utils.formats.zip import Record
from course_utils.formats.zip_layout import Entry, descriptor, directory, local_header
from course_utils.resume.compare import differences


@pytest.fixture
def state():
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(50, 20, generator=generator)
    return {
        "model": OrderedDict(weight=weight, tied=weight, bias=torch.arange(7.0)),
        "epoch": 3,
        "lr": [0.1, None, "cosine"],
    }


@pytest.fixture
def saved(tmp_path, state):
    return save_checkpoint(tmp_path / "model.pt", state)


def assert_equal(loaded, state):
    assert loaded["epoch"] == state["epoch"]
    assert loaded["lr"] == state["lr"]
    assert loaded["model"].keys() == state["model"].keys()
    for name, tensor in state["model"].items():
        assert torch.equal(loaded["model"][name], tensor)


@pytest.mark.parametrize("mmap", [False, True])
def test_round_trip(saved, state, mmap):
    loaded = load_checkpoint(saved, mmap=mmap)
    assert_equal(loaded, state)
    assert loaded["model"]["weight"].data_ptr() == loaded["model"]["tied"].data_ptr()


def test_plain_torch_and_zipfile_read_what_we_save(saved, state):
    assert_equal(torch.load(saved, weights_only=True), state)
    assert_equal(torch.load(saved, weights_only=True, mmap=True), state)
    with zipfile.ZipFile(saved) as archive:
        assert archive.testzip() is None


def test_we_read_what_plain_torch_saves(tmp_path, state):
    torch.save(state, tmp_path / "plain.pt")
    assert_equal(load_checkpoint(tmp_path / "plain.pt"), state)
    with open(tmp_path / "plain.pt", "wb") as file:
        torch.save(state, file)
    assert_equal(load_checkpoint(tmp_path / "plain.pt"), state)


def test_map_location_is_torchs(saved):
    assert load_checkpoint(saved, "meta")["model"]["bias"].is_meta
    seen = []
    load_checkpoint(saved, lambda storage, location: seen.append(location) or storage)
    assert seen == ["cpu", "cpu"]


def test_a_loaded_tensor_is_its_own(saved, state):
    load_checkpoint(saved)["model"]["weight"].zero_()
    load_checkpoint(saved, mmap=True)["model"]["weight"].zero_()
    assert_equal(load_checkpoint(saved), state)


def test_missing_file(tmp_path):
    with pytest.raises(MissingCheckpointError, match=r"none\.pt"):
        load_checkpoint(tmp_path / "none.pt")
    with pytest.raises(FileNotFoundError):
        load_checkpoint(tmp_path / "none.pt")


def test_folder(tmp_path):
    with pytest.raises(NotACheckpointError, match="folder"):
        load_checkpoint(tmp_path)


@pytest.mark.parametrize(
    "content",
    [b"", b"P", b"epoch,loss\n1,0.5\n" * 9, b"\x89PNG\r\n", bytes(5000), pickle.dumps({"a": 1})],
    ids=["empty", "one byte", "text", "picture", "zeros", "pickle"],
)
def test_files_of_other_kinds(tmp_path, content):
    path = tmp_path / "other.pt"
    path.write_bytes(content)
    with pytest.raises(NotACheckpointError, match=r"other\.pt"):
        load_checkpoint(path)


def test_a_zip_archive_that_is_no_checkpoint(tmp_path):
    path = tmp_path / "letters.pt"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("letters/a.txt", "a")
    with pytest.raises(NotACheckpointError, match=r"letters\.pt.*data\.pkl"):
        load_checkpoint(path)


@pytest.mark.parametrize("twentieth", range(1, 20))
def test_truncated(saved, twentieth):
    content = saved.read_bytes()
    saved.write_bytes(content[: len(content) * twentieth // 20])
    with pytest.raises(DamagedCheckpointError, match=r"model\.pt"):
        load_checkpoint(saved)


def test_one_byte_missing(saved):
    saved.write_bytes(saved.read_bytes()[:-1])
    with pytest.raises(DamagedCheckpointError, match=r"model\.pt"):
        load_checkpoint(saved)


@pytest.mark.parametrize("record", ["data.pkl", "data/0", "data/1", "version", "byteorder"])
def test_a_flipped_bit_is_found_and_its_record_named(saved, record):
    flip_bit_in(saved, record)
    with pytest.raises(DamagedCheckpointError, match=rf"model\.pt.*{re.escape(record)}"):
        load_checkpoint(saved)


def test_plain_torch_load_does_not_see_a_flipped_bit(saved, state):
    """The reason why we verify. If this fails, torch has begun to check: say so in lesson 07."""
    flip_bit_in(saved, "data/0")
    assert not torch.equal(
        torch.load(saved, weights_only=True)["model"]["weight"], state["model"]["weight"]
    )


def flip_bit_in(path, record):
    with zipfile.ZipFile(path) as archive:
        info = next(i for i in archive.infolist() if i.filename.endswith(f"/{record}"))
        data = archive.read(info)
    content = bytearray(path.read_bytes())
    start = content.index(data, info.header_offset)
    content[start + len(data) // 2] ^= 1
    path.write_bytes(content)


def test_torchscript(tmp_path):
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=r"`torch\.jit")
        torch.jit.script(nn.Linear(2, 2)).save(str(tmp_path / "program.pt"))
    with pytest.raises(UnsupportedCheckpointError, match=r"program\.pt.*TorchScript"):
        load_checkpoint(tmp_path / "program.pt")


def test_a_pickled_whole_model(tmp_path):
    torch.save(nn.Linear(2, 2), tmp_path / "whole.pt")
    with pytest.raises(UnsafeCheckpointError, match=r"whole\.pt.*torch\.nn\.modules\.linear"):
        load_checkpoint(tmp_path / "whole.pt")


def test_the_format_from_before_1_6(tmp_path, state):
    torch.save(state, tmp_path / "legacy.pt", _use_new_zipfile_serialization=False)
    with pytest.warns(UserWarning, match=r"legacy\.pt: loaded, but not verified"):
        loaded = load_checkpoint(tmp_path / "legacy.pt")
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # the second time it says nothing
        again = load_checkpoint(tmp_path / "legacy.pt")
    assert_equal(loaded, torch.load(tmp_path / "legacy.pt"))
    assert_equal(again, loaded)
    with pytest.raises(UnsupportedCheckpointError, match="not mapped"):
        load_checkpoint(tmp_path / "legacy.pt", mmap=True)


def test_a_safetensors_file(tmp_path):
    tensors = {"a": torch.arange(6.0).view(2, 3), "b": torch.ones(2, dtype=torch.bfloat16)}
    save_file(tensors, tmp_path / "weights.pt")  # its name plays no part
    with pytest.warns(UserWarning, match=r"weights\.pt: loaded, but not verified"):
        assert not differences(load_checkpoint(tmp_path / "weights.pt"), tensors)
    meta = load_checkpoint(tmp_path / "weights.pt", map_location="meta")
    assert {name: (t.shape, t.dtype, t.is_meta) for name, t in meta.items()} == {
        "a": ((2, 3), torch.float32, True),
        "b": ((2,), torch.bfloat16, True),
    }
    places = []
    load_checkpoint(tmp_path / "weights.pt", lambda storage, tag: places.append(tag))
    assert places == ["cpu", "cpu"]


class Payload:
    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return Path.touch, (self.marker,)


@pytest.mark.parametrize("mmap", [False, True])
def test_a_payload_does_not_run(tmp_path, mmap, monkeypatch):
    marker = tmp_path / "it ran"
    torch.save({"weight": torch.ones(2), "extra": Payload(marker)}, tmp_path / "payload.pt")
    monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")
    with pytest.raises(UnsafeCheckpointError, match=r"payload\.pt"):
        load_checkpoint(tmp_path / "payload.pt", mmap=mmap)
    assert not marker.exists()
    torch.load(tmp_path / "payload.pt", weights_only=False)
    assert marker.exists()


def rewritten(path, **records):
    """The same archive with other records, and checksums that fit them."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(buffer, "w") as new:
        for info in old.infolist():
            data = records.get(info.filename.partition("/")[2], old.read(info))
            if data is not None:
                new.writestr(info.filename, data)
    path.write_bytes(buffer.getvalue())


@pytest.mark.parametrize(
    "records",
    [{"data/0": None}, {"data/0": b"short"}, {"data.pkl": b"\x80\x02"}, {"data.pkl": b"garbage"}],
)
def test_a_pickle_that_does_not_fit_its_records(saved, records):
    rewritten(saved, **records)
    with pytest.raises(CheckpointError, match=r"model\.pt"):
        load_checkpoint(saved)


def test_unpicklable_state_is_refused_and_the_old_file_stays(saved, state):
    with pytest.raises((AttributeError, pickle.PicklingError)):
        save_checkpoint(saved, {"f": lambda: 0})
    assert_equal(load_checkpoint(saved), state)
    assert os.listdir(saved.parent) == ["model.pt"]


def test_a_missing_folder_is_named(tmp_path, state):
    with pytest.raises(CheckpointWriteError, match=r"nowhere/a\.pt.*no folder"):
        save_checkpoint(tmp_path / "nowhere" / "a.pt", state)


# What is not the file's fault


def lookup(storage, tag):
    return {"cuda:0": storage}[tag]


@pytest.mark.parametrize(
    ("map_location", "error"),
    [
        (lookup, KeyError),
        (lambda storage: storage, TypeError),
        (lambda *_: int("x"), ValueError),
        (0, TypeError),
        ({"cpu": 0}, TypeError if version() >= (2, 7) else AttributeError),
    ],
    ids=["lookup", "arity", "value", "number", "dict"],
)
def test_a_mistake_in_map_location_is_called_that(saved, map_location, error):
    with pytest.raises(error) as caught:
        load_checkpoint(saved, map_location)
    said = str(caught.value) + "".join(getattr(caught.value, "__notes__", []))
    assert "map_location" in said


def test_restore_skips_no_sound_file_for_it(tmp_path, state):
    manager = CheckpointManager(tmp_path)
    manager.save(state, 1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(KeyError):
            manager.restore(lookup)
        manager.restore(lambda storage, tag: storage)


@pytest.mark.parametrize(
    ("code", "words"),
    [(errno.EACCES, "Permission denied"), (errno.ESTALE, "Stale"), (errno.ENOMEM, "memory")],
)
@pytest.mark.parametrize("call", ["open", "preadv"])
def test_the_systems_errors_are_not_called_damage(saved, monkeypatch, code, words, call):
    def fail(*_, **__):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, call, fail)
    with pytest.raises(UnreadableCheckpointError, match=rf"{saved}.*{words}"):
        load_checkpoint(saved)


def test_names_that_no_file_has(saved, tmp_path):
    (tmp_path / "loop").symlink_to("loop")
    for path, kind, words in [
        (saved / "x", UnreadableCheckpointError, "not a folder"),
        (tmp_path / "loop", UnreadableCheckpointError, "leads back"),
        (tmp_path / ("x" * 300), UnreadableCheckpointError, "too long"),
        (f"{tmp_path}/a\0b", MissingCheckpointError, "NUL"),
    ]:
        with pytest.raises(kind, match=words):
            load_checkpoint(path)


def test_a_pipe_is_refused_and_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(NotACheckpointError, match="pipe"):
        load_checkpoint(tmp_path / "pipe")


# Unusual but sound files


@pytest.mark.parametrize("value", [b"0", b"-64", b"1", b"100000", b"99999999999"])
def test_a_storage_alignment_that_is_not_the_files(tmp_path, state, monkeypatch, value):
    """torch takes no notice of it; the file is sound, and another program's as to its layout."""

    class Writer(zip_writer.ArchiveWriter):
        def add(self, name, content):
            super().add(name, value if name == ".storage_alignment" else content)

    monkeypatch.setattr(save, "ArchiveWriter", Writer)
    path = save_checkpoint(tmp_path / "a.pt", state)
    assert not differences(load_checkpoint(path), torch.load(path))
    content = bytearray(path.read_bytes())
    content[open_contents(path).records["data/0"].offset] ^= 1
    path.write_bytes(content)
    with pytest.raises(DamagedCheckpointError, match="data/0"):
        load_checkpoint(path)


@pytest.mark.parametrize("alignment", [0, -1, (1 << 16) + 1, 1 << 21])
def test_an_alignment_that_no_zip_file_has_room_for_is_refused(tmp_path, state, alignment):
    with (
        mock.patch.object(save, "storage_alignment", return_value=alignment),
        pytest.raises(ValueError, match="storage_alignment"),
    ):
        save_checkpoint(tmp_path / "a.pt", state)
    assert os.listdir(tmp_path) == []


def test_a_storage_of_more_than_4_gib_as_torch_writes_it(tmp_path):
    """The file is sparse: it takes a few kilobytes of the disk, and mapped none of the memory."""
    state = {"large": torch.zeros(2**32 + 100, dtype=torch.uint8), "small": torch.arange(3)}
    path = tmp_path / "large.pt"
    with open(path, "wb") as file:
        headers = write_as_torch(file, state)
    assert path.stat().st_blocks * 512 < 1 << 20
    loaded = load_checkpoint(path, mmap=True)
    assert loaded["large"].shape == state["large"].shape
    assert loaded["large"][-1] == 0
    assert torch.equal(loaded["small"], state["small"])
    with open(path, "r+b") as file:
        file.seek(headers["data/0"] + 60)  # in the zip64 field
        file.write(b"x")
    with pytest.raises(DamagedCheckpointError, match="data/0"):
        load_checkpoint(path, mmap=True)


# How torch 2.14.1 begins the record of a storage of 4 GiB and 100 bytes.
TORCHS_HEADER = bytes.fromhex(
    "504b0304 0000 0808 0000 0000 0000 00000000 00000000 00000000 0e00 3e00"
    "617263686976652f646174612f30 0100 1000 6400000001000000 0000000000000000 4642 2600 5a5a"
)


def write_as_torch(file, state):
    """Write a checkpoint as torch does, its first storage as a hole; return where headers are."""
    pickled = PickledState(state)
    records = {
        "data.pkl": pickled.pickle,
        "byteorder": b"little",
        "data/0": None,
        "data/1": bytes(pickled.storages[1]),
        "version": b"3\n",
    }
    entries = []
    for name, data in records.items():
        size = len(pickled.storages[0]) if data is None else len(data)
        crc32 = zeros_crc32(size) if data is None else zlib_ng.crc32(data)
        entry = Entry(f"archive/{name}".encode(), file.tell(), size, crc32)
        header = bytearray(local_header(entry, 64))
        header[14:26] = bytes(12)
        if data is None:
            header[56:64] = bytes(8)
            theirs = bytearray(TORCHS_HEADER)
            for padding in (slice(28, 30), slice(66, 68)):  # it goes by the position
                theirs[padding] = header[padding]
            assert header[: len(theirs)] == theirs
        file.write(header)
        file.write(data) if data is not None else file.seek(size, io.SEEK_CUR)
        file.write(descriptor(entry))
        entries.append(entry)
    file.write(directory(entries, file.tell()))
    return {name: entry.header for name, entry in zip(records, entries, strict=True)}


def zeros_crc32(size):
    block = 1 << 20
    crc32, of_block = zlib_ng.crc32(bytes(size % block)), zlib_ng.crc32(bytes(block))
    for _ in range(size // block):
        crc32 = zlib_ng.crc32_combine(crc32, of_block, block)
    return crc32


def test_a_file_larger_than_memory_is_mapped(tmp_path):
    """Nothing is set aside for what might be written; the file is sparse and takes no disk."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    size = memory + (4 << 30)
    with open(tmp_path / "large", "w+b") as file:
        file.truncate(size)
        file.seek(size - 4096)
        file.write(b"x" * 4096)
        file.flush()
        record = Record("data/0", 0, 0, size - 4096, 4096, 4096, 0, False)
        storage = load._mapped(file)(record)
    assert bytes(storage) == b"x" * 4096
    storage[0] = 7
    assert (tmp_path / "large").stat().st_size == size


def marked_state():
    layer = nn.Linear(2, 2)
    state = layer.state_dict()
    nn.Linear(2, 2).load_state_dict(state, assign=True)
    assert state._metadata[""]["assign_to_params_buffers"]
    return state


def test_the_mark_of_assign_is_not_loaded(tmp_path):
    torch.save({"model": marked_state(), "step": 3}, tmp_path / "marked.pt")
    with pytest.warns(UserWarning, match=r"marked\.pt: load_state_dict\(assign=True\) left a mark"):
        loaded = load_checkpoint(tmp_path / "marked.pt")
    assert loaded["model"]._metadata == {"": {"version": 1}}
    layer = nn.Linear(2, 2)
    weight = layer.weight
    layer.load_state_dict(loaded["model"])
    assert layer.weight is weight  # an optimizer built before goes on with it


def test_the_mark_of_assign_is_not_saved(tmp_path):
    state = marked_state()
    with pytest.warns(UserWarning, match=r"saved\.pt: load_state_dict\(assign=True\) left a mark"):
        save_checkpoint(tmp_path / "saved.pt", {"model": state})
    saved = torch.load(tmp_path / "saved.pt", weights_only=True)["model"]
    assert saved._metadata == {"": {"version": 1}}
    assert torch.equal(saved["weight"], state["weight"])
    assert state._metadata[""]["assign_to_params_buffers"]  # the caller's own is left as it is


class Wrapper(torch.Tensor):
    """A tensor made of another, as torchao's quantized ones and PyTorch Geometric's are."""

    @staticmethod
    def __new__(cls, inner):
        return torch.Tensor._make_wrapper_subclass(cls, inner.shape, dtype=inner.dtype)

    def __init__(self, inner):
        self.inner = inner

    @classmethod
    def __torch_dispatch__(cls, function, types, args=(), kwargs=None):
        return function(*(args[0].inner, *args[1:]), **(kwargs or {}))


@pytest.mark.parametrize(
    "place", ["cpu", torch.device("cpu"), {"cuda:0": "cpu"}, MappingProxyType({}), None]
)
def test_tensors_made_of_others_go_where_torch_puts_them(tmp_path, place):
    torch.save({"w": Wrapper(torch.arange(3.0))}, tmp_path / "a.pt")
    with torch.serialization.safe_globals([Wrapper]):
        if version() < (2, 10):
            with pytest.raises(UnsafeCheckpointError, match="CVE-2026-24747"):
                load_checkpoint(tmp_path / "a.pt", map_location=place)
            return
        loaded = load_checkpoint(tmp_path / "a.pt", map_location=place)["w"]
    assert type(loaded) is Wrapper
    assert loaded.device.type == "cpu"
    assert torch.equal(loaded.inner, torch.arange(3.0))

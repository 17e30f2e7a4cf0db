"""Reading ahead, in parts, by several threads: every byte in its place, every change noticed."""

import io
import os
import zipfile
from unittest import mock

import pytest
import torch

from course_utils.checkpoint import load_checkpoint, save, save_checkpoint, torch_versions
from course_utils.checkpoint import verified_read as reading
from course_utils.checkpoint.torch_versions import version
from course_utils.checkpoint.verified_read import StorageReader, memory_of
from course_utils.errors import DamagedCheckpointError, DamagedRecordError
from course_utils.files.contents import open_contents

SIZES = [0, 1, 63, 4096, 9999, 10_000, 10_001, 40_000]


@pytest.fixture(autouse=True)
def small_parts(monkeypatch):
    """Chunks and window so small that a few kilobytes need many."""
    monkeypatch.setattr(reading, "SMALL", 1000)
    monkeypatch.setattr(reading, "PART", 3000)
    monkeypatch.setattr(reading, "AHEAD", 20_000)


@pytest.fixture
def state():
    generator = torch.Generator().manual_seed(0)
    return {
        f"layer.{n}": torch.randint(256, (n,), dtype=torch.uint8, generator=generator)
        for n in SIZES
    }


@pytest.fixture
def path(tmp_path, state):
    return save_checkpoint(tmp_path / "model.pt", state)


def data_records(path):
    return [
        record for name, record in open_contents(path).records.items() if name.startswith("data/")
    ]


@pytest.mark.parametrize("order", [1, -1])
def test_in_any_order(path, state, order):
    records = data_records(path)
    with open(path, "rb") as file, StorageReader(file.fileno(), records) as reader:
        taken = {record.name: reader.take(record) for record in records[::order]}
    for record, tensor in zip(records, state.values(), strict=True):
        assert bytes(memory_of(taken[record.name])) == bytes(tensor.numpy())


def test_round_trip(path, state):
    loaded = load_checkpoint(path)
    assert all(torch.equal(loaded[name], state[name]) for name in state)


@pytest.mark.parametrize("position", [0, 999, 1000, 2999, 3000, 20_000, 39_999])
@pytest.mark.parametrize("options", [{}, {"mmap": True, "verify_mapped": True}])
def test_a_flipped_bit_anywhere_is_found_and_the_tensor_named(path, position, options):
    damage(path, data_records(path)[-1], position)
    with pytest.raises(DamagedCheckpointError, match=r"model\.pt.*data/7 \(tensor layer\.40000\)"):
        load_checkpoint(path, **options)


def test_mapping_alone_verifies_the_pickle_but_not_the_tensors(path, state):
    records = open_contents(path).records
    damage(path, records["data/7"], 0)
    loaded = load_checkpoint(path, mmap=True)
    assert not torch.equal(loaded["layer.40000"], state["layer.40000"])
    damage(path, records["data.pkl"], 0)
    with pytest.raises(DamagedCheckpointError, match=r"data\.pkl"):
        load_checkpoint(path, mmap=True)


def test_mapped_tensors_outlive_the_file_and_keep_writes_to_themselves(path, state):
    loaded = load_checkpoint(path, mmap=True)
    loaded["layer.4096"].zero_()
    again = load_checkpoint(path)
    assert torch.equal(again["layer.4096"], state["layer.4096"])
    path.unlink()
    assert torch.equal(loaded["layer.40000"], state["layer.40000"])


def test_replacing_a_mapped_file_leaves_the_mapping_alone(path, state):
    loaded = load_checkpoint(path, mmap=True)
    save_checkpoint(path, {"other": torch.zeros(3)})
    assert torch.equal(loaded["layer.40000"], state["layer.40000"])


def test_a_record_no_tensor_uses_is_verified_too(path):
    content = path.read_bytes()
    with zipfile.ZipFile(io.BytesIO(content)) as old, zipfile.ZipFile(path, "w") as new:
        for info in old.infolist():
            new.writestr(info.filename, old.read(info))
        new.writestr("archive/data/8", b"unused" * 1000)
    load_checkpoint(path)
    damage(path, open_contents(path).records["data/8"], 5)
    with pytest.raises(DamagedCheckpointError, match="data/8"):
        load_checkpoint(path)


@pytest.mark.parametrize("size", [500, 5000])
def test_a_file_that_shrinks_while_it_is_read(path, size):
    record = data_records(path)[-1]
    with open(path, "rb") as file:
        os.truncate(path, record.offset + size - 1)
        short = record._replace(size=size)
        with (
            StorageReader(file.fileno(), [short]) as reader,
            pytest.raises(DamagedRecordError, match="ends before"),
        ):
            reader.take(short)


def test_a_disk_that_cannot_read(path, monkeypatch):
    def fail(*_):
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "preadv", fail)
    with pytest.raises(DamagedCheckpointError, match=r"record data/.*Input/output error"):
        load_checkpoint(path)


def test_a_disk_that_cannot_read_the_pickle(path, monkeypatch):
    pread, place = os.pread, open_contents(path).records["data.pkl"].offset

    def fail(descriptor, count, position):
        if position == place:
            raise OSError(5, "Input/output error")
        return pread(descriptor, count, position)

    monkeypatch.setattr(os, "pread", fail)
    with pytest.raises(DamagedCheckpointError, match=r"data\.pkl.*Input/output error"):
        load_checkpoint(path)


def test_memory_is_used_for_a_window_only(path, monkeypatch):
    """A file for another device must not be in host memory whole."""
    begun = []
    begin = StorageReader._begin
    monkeypatch.setattr(StorageReader, "_begin", lambda *a: (begun.append(a[1].size), begin(*a)))
    records = data_records(path)
    with open(path, "rb") as file, StorageReader(file.fileno(), records) as reader:
        reader.take(records[0])
        assert begun == SIZES[:6]  # 24,159 bytes: the first to pass 20,000


def damage(path, record, position):
    content = bytearray(path.read_bytes())
    content[record.offset + position] ^= 8
    path.write_bytes(content)


def test_a_file_of_torchs_layout_is_read_without_looking_at_its_headers_first(path, monkeypatch):
    """Reads here and there would spoil the reading ahead of a file that is not in memory."""
    # Where it is broken, the whole file is audited before, headers included.
    monkeypatch.setattr(torch_versions, "safe_loader_is_broken", lambda: False)
    preadv, pread, calls = os.preadv, os.pread, []
    monkeypatch.setattr(os, "preadv", lambda *a: (calls.append("data"), preadv(*a))[1])
    records = open_contents(path).records.values()
    others = {record.offset for record in records if not record.name.startswith("data/")}

    def read(descriptor, count, position):
        if 0 < position < max(others):  # else it is the directory, or the format's mark
            calls.append("data" if position in others else "header")
        return pread(descriptor, count, position)

    monkeypatch.setattr(os, "pread", read)
    monkeypatch.setattr(reading, "THREADS", 1)
    load_checkpoint(path)
    first_header = calls.index("header")
    assert "data" not in calls[first_header:]


def test_a_file_with_another_alignment(tmp_path, state):
    path = tmp_path / "aligned.pt"
    if version() < (2, 7):  # which had one alignment only
        with mock.patch.object(save, "storage_alignment", return_value=4096):
            save_checkpoint(path, state)
    else:
        with torch.utils.serialization.config.patch("save.storage_alignment", 4096):
            torch.save(state, path)
    loaded = load_checkpoint(path)
    assert all(torch.equal(loaded[name], state[name]) for name in state)
    damage(path, open_contents(path).records["data/7"], 0)
    with pytest.raises(DamagedCheckpointError, match="data/7"):
        load_checkpoint(path)

"""The commit record, and what makes it last."""

import json
import os
import shutil
import zlib

import pytest

from course_utils.distributed import commit
from course_utils.errors import DamagedCheckpointError


@pytest.fixture
def checkpoint(tmp_path):
    folder = commit.step_folder(tmp_path, 3)
    folder.mkdir()
    (folder / "a").write_bytes(bytes(range(100)))
    return folder


def committed(checkpoint):
    commit.commit(checkpoint, {"a": commit.measure(checkpoint / "a")})


@pytest.fixture
def synced(monkeypatch):
    """Returns what was brought to disk, in order."""
    names, fsync = [], os.fsync

    def noted(descriptor):
        names.append(os.path.realpath(f"/proc/self/fd/{descriptor}"))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", noted)
    return names


def test_a_commit_lasts_with_the_name_of_its_folder(checkpoint, synced):
    committed(checkpoint)
    assert synced[-1] == str(checkpoint.parent)
    assert str(checkpoint) in synced


def test_what_is_removed_in_part_does_not_count(checkpoint, synced, monkeypatch):
    committed(checkpoint)
    synced.clear()

    def killed(_):
        raise OSError("the power is off")

    monkeypatch.setattr(shutil, "rmtree", killed)
    with pytest.raises(OSError, match="power"):
        commit.remove(checkpoint)
    assert (checkpoint / "a").exists()
    assert not commit.is_committed(checkpoint)
    assert synced == [str(checkpoint)]


def test_a_file_larger_than_a_block_is_measured_whole(checkpoint, monkeypatch):
    monkeypatch.setattr(commit, "_BLOCK", 7)
    assert commit.measure(checkpoint / "a") == commit.Part(100, zlib.crc32(bytes(range(100))))


@pytest.mark.parametrize("record", [{}, [], {"files": []}, {"files": ["a"]}, {"files": {"a": 1}}])
def test_a_record_of_another_form_is_named(checkpoint, record):
    committed(checkpoint)
    (checkpoint / commit.RECORD).write_text(json.dumps(record))
    with pytest.raises(DamagedCheckpointError, match=r"commit\.json"):
        commit.read_record(checkpoint)


def test_steps_are_in_the_order_of_their_numbers(tmp_path):
    for step in (10**8, 99_999_999, 2, 10**9):
        commit.step_folder(tmp_path, step).mkdir()
    found = list(map(commit.step_of, commit.step_folders(tmp_path)))
    assert found == [2, 99_999_999, 10**8, 10**9]

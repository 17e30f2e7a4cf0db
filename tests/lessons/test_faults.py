"""The faults that lessons make are the ones they claim."""

import os

import pytest
import torch

from course_utils.checkpoint import load_checkpoint, save_checkpoint
from course_utils.errors import CheckpointWriteError, DamagedCheckpointError
from course_utils.lessons.faults import (
    FRACTIONS,
    count_calls,
    file_size_limit,
    flip_bit,
    run_in_new_process,
    saves_that_die,
)


def test_saves_that_die(tmp_path):
    deaths = saves_that_die(tmp_path)
    assert [d.fraction for d in deaths] == FRACTIONS * 2
    assert {d.remains for d in deaths if d.saver == "torch.save"} == {"lost"}
    assert {d.remains for d in deaths if d.saver == "save_checkpoint"} == {"old"}


def test_file_size_limit(tmp_path):
    path = tmp_path / "model.pt"
    with file_size_limit(1000), pytest.raises(CheckpointWriteError, match="larger"):
        save_checkpoint(path, torch.ones(1000))
    save_checkpoint(path, torch.ones(1000))


def test_flip_bit(tmp_path):
    path = save_checkpoint(tmp_path / "model.pt", {"weight": torch.ones(3)})
    flip_bit(path, "data/0", 7, 7)
    assert torch.load(path)["weight"].tolist() == [1, -1, 1]
    with pytest.raises(DamagedCheckpointError, match=r"data/0 \(tensor weight\)"):
        load_checkpoint(path)


def test_run_in_new_process():
    assert run_in_new_process("import os, signal; os.kill(os.getpid(), signal.SIGBUS)") == -7
    assert run_in_new_process("raise SystemExit(3)") == 3


def test_calls_are_counted_by_what_they_flush(tmp_path):
    def save():
        with open(tmp_path / "file", "wb") as file:
            os.fsync(file)
        folder = os.open(tmp_path, os.O_RDONLY)
        os.fsync(folder)
        os.close(folder)
        os.replace(tmp_path / "file", tmp_path / "new")

    assert count_calls(save) == {"fsync of a file": 1, "renamed": 1, "fsync of a folder": 1}
    assert (tmp_path / "new").exists()
    assert count_calls(lambda: None) == {"fsync of a file": 0, "renamed": 0, "fsync of a folder": 0}

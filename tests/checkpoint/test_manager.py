"""Retention: what stays, what goes, and what is never lost."""

import os
import subprocess
import sys

import pytest
import torch

from course_utils.checkpoint import CheckpointManager
from course_utils.errors import (
    CheckpointWriteError,
    DamagedCheckpointError,
    MissingCheckpointError,
)
from course_utils.files.locks import Hold


def state(step):
    return {"step": step, "weight": torch.full((10,), float(step))}


def steps(manager):
    return sorted(int(name.split("-")[1].split(".")[0]) for name in os.listdir(manager.folder))


def damage(path):
    path.write_bytes(path.read_bytes()[:-100])


def test_names(tmp_path):
    manager = CheckpointManager(tmp_path)
    path = manager.save(state(88), 88, {"accuracy": 0.93121, "loss": 0.2})
    assert path == tmp_path / "step-00000088-accuracy-0.93121.pt"
    assert manager.save(state(89), 89) == tmp_path / "step-00000089.pt"


def test_last_and_best_are_kept(tmp_path):
    manager = CheckpointManager(tmp_path, keep_last=2, keep_best=1)
    for step, accuracy in enumerate([0.1, 0.9, 0.2, 0.3, 0.4]):
        manager.save(state(step), step, {"accuracy": accuracy})
    assert steps(manager) == [1, 3, 4]
    assert manager.latest().name.startswith("step-00000004")
    assert manager.best().name == "step-00000001-accuracy-0.9.pt"
    assert manager.restore()["step"] == 4


def test_the_smallest_can_be_best_and_nan_never_is(tmp_path):
    manager = CheckpointManager(tmp_path, keep_last=1, metric="loss", mode="min")
    for step, loss in enumerate([float("nan"), 1e-05, 2.5e-05, float("nan")]):
        manager.save(state(step), step, {"loss": loss})
    assert steps(manager) == [1, 3]
    assert manager.best().name == "step-00000001-loss-1e-05.pt"


def test_the_newest_of_equals_is_best(tmp_path):
    manager = CheckpointManager(tmp_path)
    for step in range(3):
        manager.save(state(step), step, {"accuracy": 0.5})
    assert manager.best().name.startswith("step-00000002")


def test_another_run_goes_on_from_the_folder_alone(tmp_path):
    CheckpointManager(tmp_path, keep_last=2).save(state(1), 1, {"accuracy": 0.9})
    CheckpointManager(tmp_path, keep_last=2).save(state(2), 2, {"accuracy": 0.1})
    manager = CheckpointManager(tmp_path, keep_last=2)
    assert manager.best().name.startswith("step-00000001")
    assert manager.restore()["step"] == 2
    manager.save(state(3), 3, {"accuracy": 0.2})
    manager.save(state(4), 4, {"accuracy": 0.2})
    assert steps(manager) == [1, 3, 4]


def test_a_step_below_the_newest_survives_its_own_save(tmp_path):
    manager = CheckpointManager(tmp_path, keep_last=1)
    manager.save(state(100), 100)
    manager.save(state(5), 5)
    assert 5 in steps(manager)


def test_restore_skips_the_damaged_with_a_warning(tmp_path):
    manager = CheckpointManager(tmp_path)
    for step in range(3):
        path = manager.save(state(step), step)
    damage(path)
    (tmp_path / "step-00000009.pt").touch()
    with pytest.warns(UserWarning, match="step-0000000[29]") as warnings:
        assert manager.restore()["step"] == 1
    assert len(warnings) == 2


def test_restore_without_a_sound_file(tmp_path):
    manager = CheckpointManager(tmp_path)
    with pytest.raises(MissingCheckpointError, match=str(tmp_path)):
        manager.restore()
    assert manager.latest() is None
    assert manager.best() is None
    damage(manager.save(state(1), 1))
    with (
        pytest.warns(UserWarning, match="damaged"),
        pytest.raises(DamagedCheckpointError, match="none of its 1"),
    ):
        manager.restore()


def test_a_failed_save_removes_nothing(tmp_path, monkeypatch):
    manager = CheckpointManager(tmp_path, keep_last=1)
    manager.save(state(1), 1)

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(CheckpointWriteError, match="disk is full"):
        manager.save(state(2), 2)
    assert os.listdir(tmp_path) == ["step-00000001.pt"]
    assert manager.restore()["step"] == 1


def test_nothing_is_removed_before_the_new_file_is_durable(tmp_path, monkeypatch):
    manager = CheckpointManager(tmp_path, keep_last=1)
    manager.save(state(1), 1)
    at_sync = []
    fsync = os.fsync
    monkeypatch.setattr(os, "fsync", lambda fd: (at_sync.append(manager.restore()), fsync(fd)))
    manager.save(state(2), 2)
    assert [found["step"] for found in at_sync] == [1, 2]  # the file's, then the folder's
    assert steps(manager) == [2]


def test_a_file_being_read_stays_until_it_is_not(tmp_path):
    manager = CheckpointManager(tmp_path, keep_last=1, keep_best=0)
    with Hold(manager.save(state(1), 1)):
        manager.save(state(2), 2)
        assert steps(manager) == [1, 2]
    manager.save(state(3), 3)
    assert steps(manager) == [3]


def test_two_managers_keep_each_others_files(tmp_path):
    one, two = (CheckpointManager(tmp_path, keep_last=2, keep_best=0) for _ in range(2))
    for step in range(5):
        one.save(state(step), step)
        two.save(state(100 + step), 100 + step)
    assert steps(one) == [3, 4, 103, 104]


def test_a_manager_in_another_process_keeps_its_files(tmp_path):
    code = (
        "import sys, torch; from course_utils.checkpoint import CheckpointManager\n"
        "manager = CheckpointManager(sys.argv[1], keep_last=1)\n"
        "manager.save({'weight': torch.ones(1)}, 1); print('saved', flush=True); input()"
    )
    command = [sys.executable, "-c", code, str(tmp_path)]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) as other:
        assert other.stdout.readline() == "saved\n"
        mine = CheckpointManager(tmp_path, keep_last=1, keep_best=0)
        mine.save(state(2), 2)
        assert steps(mine) == [1, 2]
        other.communicate("\n")
    mine.save(state(3), 3)
    assert steps(mine) == [3]


def test_foreign_files_are_left_alone(tmp_path):
    names = ["step-1.pt.bak", "notes.txt", "model.pt", "step-.pt"]
    for name in names:
        (tmp_path / name).touch()
    manager = CheckpointManager(tmp_path, keep_last=1)
    for step in range(3):
        manager.save(state(step), step)
    assert set(names) < set(os.listdir(tmp_path))


@pytest.mark.parametrize(
    "arguments", [{"keep_last": 0}, {"keep_best": -1}, {"mode": "best"}, {"metric": "a/b"}]
)
def test_settings_that_make_no_sense(tmp_path, arguments):
    with pytest.raises(ValueError, match=next(iter(arguments))):
        CheckpointManager(tmp_path, **arguments)


def test_steps_and_metrics_that_make_no_sense(tmp_path):
    manager = CheckpointManager(tmp_path)
    with pytest.raises(ValueError, match="step"):
        manager.save(state(0), -1)
    with pytest.raises(ValueError, match="accuracy"):
        manager.save(state(0), 1, {"loss": 0.5})
    assert os.listdir(tmp_path) == []

"""A folder and its runs: which run it belongs to, workers that live on, systems without locks."""

import copy
import errno
import fcntl
import gc
import os
import pickle
import shutil
import stat
import time
import warnings

import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset

from course_utils.checkpoint import AsyncCheckpointer, CheckpointManager
from course_utils.errors import CheckpointWriteError, MissingCheckpointError
from course_utils.files import notices


def state(step, run="new"):
    return {"step": step, "run": run, "weight": torch.full((10,), float(step))}


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def steps(folder):
    return sorted(int(path.stem.split("-")[1]) for path in folder.glob("step-*.pt"))


def old_run(folder, *steps, **settings):
    manager = CheckpointManager(folder, **{"keep_last": 4, "keep_best": 0, **settings})
    for step in steps:
        manager.save(state(step, "old"), step)


# Another run's folder


@pytest.mark.parametrize("first", [10, 199, 200])
@pytest.mark.parametrize("background", [False, True])
def test_a_first_save_that_is_not_above_the_others_names_both_ways_out(tmp_path, first, background):
    old_run(tmp_path, 100, 200)
    manager = CheckpointManager(tmp_path)
    saver = AsyncCheckpointer(manager) if background else manager
    for _ in range(2):
        with pytest.raises(CheckpointWriteError, match=r"step 200.*another folder.*continue_from"):
            saver.save(state(first), first)
    assert steps(tmp_path) == [100, 200]
    assert manager.restore()["run"] == "old"


def test_going_on_from_an_earlier_step(tmp_path):
    old_run(tmp_path, 100, 180, 190, 200)
    manager = CheckpointManager(tmp_path, keep_last=3, keep_best=0, continue_from=100)
    assert steps(tmp_path / "abandoned") == [180, 190, 200]
    assert manager.restore()["step"] == 100
    for step in (110, 120, 130, 140):
        manager.save(state(step), step)
    assert steps(tmp_path) == [120, 130, 140]
    assert CheckpointManager(tmp_path).restore()["run"] == "new"


def test_what_is_abandoned_twice_is_kept_twice(tmp_path):
    for run in ("one", "two"):
        manager = CheckpointManager(tmp_path, continue_from=1 if run == "two" else None)
        if run == "one":
            manager.save(state(1), 1)
        manager.save(state(2, run), 2)
        del manager
    CheckpointManager(tmp_path, continue_from=1)
    assert names(tmp_path / "abandoned") == ["step-00000002.2.pt", "step-00000002.pt"]


def test_continuing_from_a_step_that_is_not_there_moves_nothing(tmp_path):
    old_run(tmp_path, 100, 200)
    with pytest.raises(MissingCheckpointError, match=r"step 10 .*\[100, 200\]"):
        CheckpointManager(tmp_path, continue_from=10)
    assert steps(tmp_path) == [100, 200]


def test_a_running_runs_checkpoints_are_not_abandoned(tmp_path):
    running = CheckpointManager(tmp_path)
    for step in (100, 200):
        running.save(state(step), step)
    with pytest.raises(CheckpointWriteError, match="in use"):
        CheckpointManager(tmp_path, continue_from=100)
    assert steps(tmp_path) == [100, 200]


def test_a_restored_step_may_be_saved_again_at_once(tmp_path):
    """A job that is stopped before its first step saves what it has restored."""
    old_run(tmp_path, 100)
    manager = CheckpointManager(tmp_path)
    assert manager.restore()["step"] == 100
    manager.save(state(100), 100)
    assert manager.restore()["run"] == "new"


def test_damaged_files_do_not_stand_in_the_way(tmp_path):
    old_run(tmp_path, 100, 110)
    (tmp_path / "step-00000110.pt").write_bytes(b"PK")
    manager = CheckpointManager(tmp_path)
    with pytest.warns(UserWarning, match="damaged"):
        assert manager.restore()["step"] == 100
    manager.save(state(105), 105)
    manager.save(state(110), 110)
    assert manager.restore()["run"] == "new"


def test_a_run_that_goes_back_by_itself_keeps_its_last_saves(tmp_path):
    manager = CheckpointManager(tmp_path, keep_last=2, keep_best=0)
    for step in (100, 200, 110, 120):
        manager.save(state(step), step)
    assert steps(tmp_path) == [110, 120]


# The same step again


def test_a_step_saved_again_replaces_the_file(tmp_path):
    manager = CheckpointManager(tmp_path, keep_last=2)
    manager.save(state(4), 4)
    for attempt, metrics in enumerate([{"accuracy": 0.9}, {"accuracy": 0.85}, None]):
        path = manager.save({"attempt": attempt}, 5, metrics)
        assert names(tmp_path) == ["step-00000004.pt", path.name]
        assert manager.restore() == {"attempt": attempt}


def test_of_one_step_the_last_written_counts(tmp_path):
    """Two are left where a process died between the new file and the removal of the old one."""
    old_run(tmp_path, 5)
    late = tmp_path / "step-00000005-accuracy-0.1.pt"
    shutil.copy(tmp_path / "step-00000005.pt", late)
    os.utime(tmp_path / "step-00000005.pt", (1, 1))
    assert CheckpointManager(tmp_path).latest() == late
    os.utime(late, (0, 0))
    assert CheckpointManager(tmp_path).latest().name == "step-00000005.pt"


# Names


@pytest.mark.parametrize("value", [0.12345674, 1234567.9, 1e-7, -3.0, 0.1, float("inf"), 1.0])
def test_a_metric_is_written_in_full(tmp_path, value):
    manager = CheckpointManager(tmp_path, metric="loss", mode="min", keep_last=1, keep_best=1)
    manager.save(state(1), 1, {"loss": value})
    manager.save(state(2), 2, {"loss": value * (1 + 1e-15)})
    manager.save(state(3), 3)
    best = min(1, 2, key=lambda step: (value * (1 + (step - 1) * 1e-15), -step))
    assert steps(tmp_path) == [best, 3]


def test_names_of_six_digits_are_read_as_before(tmp_path):
    old_run(tmp_path, 1)
    (tmp_path / "step-00000001.pt").rename(tmp_path / "step-00000001-loss-1.23457e+06.pt")
    assert CheckpointManager(tmp_path, metric="loss").best().name.endswith("e+06.pt")


@pytest.mark.parametrize("step", [1e3, "5", None])
def test_a_step_is_a_whole_number(tmp_path, step):
    with pytest.raises(ValueError, match="whole number"):
        CheckpointManager(tmp_path).save(state(0), step)
    assert names(tmp_path) == []


# Copies, children, many files


@pytest.mark.parametrize(
    "copied", [copy.copy, copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))]
)
def test_a_copy_is_another_manager(tmp_path, copied):
    manager = CheckpointManager(tmp_path, keep_last=1, keep_best=0)
    manager.save(state(1), 1)
    other = copied(manager)
    other.save(state(2), 2)
    assert steps(tmp_path) == [1, 2]
    del other
    gc.collect()
    manager.save(state(3), 3)
    assert steps(tmp_path) == [3]


def test_a_forked_child_does_not_remove_its_parents_files(tmp_path):
    manager = CheckpointManager(tmp_path, keep_last=2, keep_best=0)
    for step in (1, 2):
        manager.save(state(step), step)
    child = os.fork()
    if child == 0:
        try:
            for step in (3, 4, 5):
                manager.save(state(step), step)
            os._exit(0)
        finally:
            os._exit(1)
    assert os.waitpid(child, 0)[1] == 0
    assert steps(tmp_path) == [1, 2, 4, 5]


def test_keeping_many_takes_one_descriptor(tmp_path):
    manager = CheckpointManager(tmp_path, keep_last=300)
    manager.save(state(0), 0)
    before = len(os.listdir("/proc/self/fd"))
    for step in range(1, 40):
        manager.save(state(step), step)
    assert len(os.listdir("/proc/self/fd")) == before


# Workers of a DataLoader: forked children that live on


@pytest.mark.parametrize("background", [False, True])
@pytest.mark.parametrize("persistent", [False, True])
def test_retention_goes_on_beside_workers(tmp_path, background, persistent):
    manager = CheckpointManager(tmp_path, keep_last=2, keep_best=0)
    loader = DataLoader(
        TensorDataset(torch.zeros(16)), batch_size=4, num_workers=2, persistent_workers=persistent
    )
    step = 0
    with AsyncCheckpointer(manager) as checkpointer:
        saver = checkpointer if background else manager
        saver.save({"weight": torch.ones(2_000_000)}, step)  # under way when the workers start
        for _ in range(2):
            for _ in loader:
                step += 1
                saver.save(state(step), step)
            checkpointer.wait()
            assert steps(tmp_path) == [step - 1, step]


# File systems that lack something


def test_without_locks_its_own_files_make_room_and_it_is_said_once(tmp_path, monkeypatch):
    def flock(*_):
        raise OSError(errno.ENOSYS, "Function not implemented")

    old_run(tmp_path, 0)
    dead = tmp_path / ".saving-0123456789abcdef.tmp"
    young = tmp_path / ".saving-0123456789abcdee.tmp"
    for path in (dead, young):
        path.write_bytes(b"half")
    os.utime(dead, (time.time() - 90_000,) * 2)
    monkeypatch.setattr(fcntl, "flock", flock)
    manager = CheckpointManager(tmp_path, keep_last=2, keep_best=0)
    with pytest.warns(UserWarning, match="no locks") as caught:
        [manager.save(state(step), step) for step in range(1, 6)]
    assert len(caught) == 1
    assert steps(tmp_path) == [0, 4, 5]
    assert not dead.exists()
    assert young.exists()


def test_a_folder_that_cannot_be_flushed_is_said_once_and_pruned_as_ever(tmp_path, monkeypatch):
    fsync = os.fsync

    def files_only(descriptor):
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, "Invalid argument")
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", files_only)
    manager = CheckpointManager(tmp_path, keep_last=1, keep_best=0)
    with pytest.warns(UserWarning, match="cannot flush a folder") as caught:
        [manager.save(state(step), step) for step in range(3)]
    assert len(caught) == 1
    assert steps(tmp_path) == [2]


def test_a_notice_is_given_once_for_each_folder(tmp_path):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for folder in ("a", "b", "a"):
            notices.say_once(tmp_path / folder, "lacks something")
    assert [str(w.message).rpartition("/")[2] for w in caught] == [
        "a: lacks something",
        "b: lacks something",
    ]


def test_a_folder_that_is_gone(tmp_path):
    manager = CheckpointManager(tmp_path / "run")
    manager.save(state(1), 1)
    shutil.rmtree(tmp_path / "run")
    with pytest.raises(CheckpointWriteError, match="gone"):
        manager.save(state(2), 2)
    for call in (manager.latest, manager.best, manager.restore):
        with pytest.raises(MissingCheckpointError, match="gone"):
            call()


def test_a_folder_below_a_file(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(CheckpointWriteError, match="Not a directory"):
        CheckpointManager(tmp_path / "file" / "run")

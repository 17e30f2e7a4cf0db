"""Saving in the background: a true copy, no pile-up, no silent error, nothing lost at exit."""

import os
import subprocess
import sys
import threading
from types import SimpleNamespace

import pytest
import torch

from course_utils.checkpoint import (
    AsyncCheckpointer,
    CheckpointManager,
    background,
    load_checkpoint,
)
from course_utils.checkpoint import save as saving
from course_utils.errors import CheckpointWriteError


@pytest.fixture
def manager(tmp_path):
    return CheckpointManager(tmp_path, keep_last=2, keep_best=0)


@pytest.fixture
def gate(monkeypatch):
    """A slow disk: nothing is written until the gate opens."""
    opened = threading.Event()
    write = saving._write_archive

    def slow(*arguments):
        assert opened.wait(20)
        write(*arguments)

    monkeypatch.setattr(saving, "_write_archive", slow)
    yield opened
    opened.set()


def names(manager):
    return sorted(os.listdir(manager.folder))


def test_saves_the_state_of_the_moment(manager, gate):
    weight = torch.zeros(1000)
    state = {"weight": weight, "view": weight[3:5], "step": [1]}
    with AsyncCheckpointer(manager) as checkpointer:
        checkpointer.save(state, 1)
        weight += 1
        state["step"][0] = 2
        assert not any(name.startswith("step") for name in names(manager))
        gate.set()
    loaded = manager.restore()
    assert loaded["step"] == [1]
    assert torch.equal(loaded["weight"], torch.zeros(1000))
    assert loaded["view"].untyped_storage().data_ptr() == loaded["weight"].data_ptr()


def test_the_next_save_waits_for_the_disk(manager, gate):
    with AsyncCheckpointer(manager) as checkpointer:
        checkpointer.save({"weight": torch.ones(10)}, 1)
        second = threading.Thread(target=checkpointer.save, args=({"weight": torch.zeros(10)}, 2))
        second.start()
        second.join(0.2)
        assert second.is_alive()
        gate.set()
        second.join(20)
        assert not second.is_alive()
    for step, value in [(1, 1.0), (2, 0.0)]:
        assert load_checkpoint(manager.path_for(step))["weight"].eq(value).all()


def test_memory_is_reused_and_adjusted(manager):
    with AsyncCheckpointer(manager) as checkpointer:
        checkpointer.save({"a": torch.zeros(10), "b": torch.zeros(5)}, 1)
        checkpointer.wait()
        first = {key: buffer.data_ptr() for key, buffer in checkpointer._buffers.items()}
        checkpointer.save({"a": torch.ones(10), "b": torch.ones(7)}, 2)
        checkpointer.wait()
        assert checkpointer._buffers[0].data_ptr() == first[0]
        assert len(checkpointer._buffers[1]) == 28
        assert load_checkpoint(manager.path_for(1))["a"].eq(0).all()
        checkpointer.save({"a": torch.empty(0)}, 3)
    assert manager.restore()["a"].shape == (0,)


def test_retention_is_the_managers(manager):
    with AsyncCheckpointer(manager) as checkpointer:
        for step in range(5):
            checkpointer.save({"weight": torch.ones(10)}, step)
        assert checkpointer.wait() == manager.path_for(4)
    assert names(manager) == ["step-00000003.pt", "step-00000004.pt"]


@pytest.fixture
def full_disk(monkeypatch):
    def fail(*_):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(saving, "_write_archive", fail)
        yield patch


def test_an_error_surfaces_once_at_the_next_call(manager, full_disk):
    with AsyncCheckpointer(manager) as checkpointer:
        checkpointer.save({"weight": torch.ones(10)}, 1)
        with pytest.raises(CheckpointWriteError, match="disk is full"):
            checkpointer.save({"weight": torch.ones(10)}, 2)
        full_disk.undo()
        checkpointer.save({"weight": torch.ones(10)}, 3)
    assert names(manager) == ["step-00000003.pt"]


def test_an_error_surfaces_at_close(manager, full_disk):
    checkpointer = AsyncCheckpointer(manager)
    checkpointer.save({"weight": torch.ones(10)}, 1)
    with pytest.raises(CheckpointWriteError, match="disk is full"):
        checkpointer.close()


def test_wrong_arguments_show_at_once(manager):
    with AsyncCheckpointer(manager) as checkpointer:
        with pytest.raises(ValueError, match="step"):
            checkpointer.save({}, -1)
        with pytest.raises(AttributeError, match="lambda"):
            checkpointer.save({"f": lambda: 0}, 1)
    with pytest.raises(ValueError, match="closed"):
        checkpointer.save({}, 1)
    assert names(manager) == []


def test_what_only_torch_can_save(manager):
    with AsyncCheckpointer(manager) as checkpointer, torch.serialization.skip_data():
        checkpointer.save({"weight": torch.ones(1000)}, 1)
    assert torch.load(manager.path_for(1))["weight"].shape == (1000,)


def test_a_save_in_progress_is_completed_when_the_interpreter_exits(tmp_path):
    """Of several blocks, so that threads are at work while the interpreter shuts down."""
    code = (
        "import sys, torch\n"
        "from course_utils.checkpoint import AsyncCheckpointer, CheckpointManager\n"
        "checkpointer = AsyncCheckpointer(CheckpointManager(sys.argv[1]))\n"
        "checkpointer.save({'weight': torch.arange(10_000_000)}, 1)"
    )
    run = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=False
    )
    assert (run.returncode, run.stderr) == (0, "")
    state = CheckpointManager(tmp_path).restore()
    assert torch.equal(state["weight"], torch.arange(10_000_000))


def test_an_error_after_the_main_thread_has_ended_is_printed(tmp_path):
    code = (
        "import sys, threading, torch\n"
        "from course_utils.checkpoint import AsyncCheckpointer, CheckpointManager, save\n"
        "def full(*_):\n"
        "    threading.main_thread().join()\n"
        "    raise OSError(28, 'No space left on device')\n"
        "save._write_archive = full\n"
        "AsyncCheckpointer(CheckpointManager(sys.argv[1])).save({'weight': torch.ones(3)}, 1)"
    )
    command = [sys.executable, "-c", code, str(tmp_path)]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert "disk is full" in run.stderr
    assert list(tmp_path.glob("*.pt")) == []


def test_without_a_thread_to_be_had_the_writer_does_the_work_itself(tmp_path, monkeypatch):
    """As on Python 3.12.1, which starts no thread while it exits."""
    start = threading.Thread.start

    def refuse(thread):
        if thread.name == "checkpoint-writer":
            raise RuntimeError("can't create new thread at interpreter shutdown")
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", refuse)
    state = {"weight": torch.arange(10_000_000)}
    path = saving.save_checkpoint(tmp_path / "a.pt", state)
    assert torch.equal(load_checkpoint(path)["weight"], state["weight"])
    monkeypatch.setattr(os, "pwrite", lambda *_: 0)
    with pytest.raises(CheckpointWriteError, match="input/output error"):
        saving.save_checkpoint(path, {"weight": torch.zeros(10_000_000)})
    assert torch.equal(load_checkpoint(path)["weight"], state["weight"])


def test_the_copy_waits_for_every_device_that_holds_a_part(monkeypatch):
    """Devices of other kinds are stood in for: no GPU has seen this."""
    waited = []
    monkeypatch.setattr(torch.accelerator, "synchronize", lambda device: waited.append(str(device)))
    places = ["cpu", "cuda:0", "cuda:1", "mps:0", "cuda:1", "cpu"]
    background._wait_for_devices(SimpleNamespace(device=torch.device(place)) for place in places)
    assert sorted(waited) == ["cuda:0", "cuda:1", "mps:0"]

"""Interrupts at any moment: nothing is torn, no thread is left, and the next save works."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import torch

from course_utils.checkpoint import (
    AsyncCheckpointer,
    CheckpointManager,
    load_checkpoint,
    save_checkpoint,
)
from course_utils.files import direct_io

HERE = Path(__file__).parent
INTERRUPTS = int(os.environ.get("INTERRUPTS", "400"))  # of `make torture INTERRUPTS=60`


@pytest.fixture
def slow_disk(monkeypatch):
    """Many blocks, each of which takes a while."""
    pwrite = os.pwrite

    def slow(*arguments):
        time.sleep(0.05)
        return pwrite(*arguments)

    monkeypatch.setattr(direct_io, "BLOCK", 64 << 10)
    monkeypatch.setattr(os, "pwrite", slow)


@pytest.fixture
def only_in_saves():
    """Let interrupts that come after the save pass: they would end the test's own process."""

    def interrupt(_signal, frame):
        while frame is not None:
            if frame.f_code is save_checkpoint.__code__:
                raise KeyboardInterrupt
            frame = frame.f_back

    usual = signal.signal(signal.SIGINT, interrupt)
    yield
    signal.signal(signal.SIGINT, usual)


def writers():
    return [thread for thread in threading.enumerate() if thread.name == "checkpoint-writer"]


def wait_for_writers():
    """An interrupted save does not wait for them, but they end with the block they write."""
    for thread in writers():
        thread.join(10)
    assert not writers()


def interrupt_after(*delays):
    def press():
        for delay in delays:
            time.sleep(delay)
            os.kill(os.getpid(), signal.SIGINT)

    presses = threading.Thread(target=press, daemon=True)
    presses.start()
    return presses


@pytest.mark.parametrize("delays", [(0.2,), (0.2, 0.01), (0.2, 0.01, 0.01)])
def test_an_interrupted_save_writes_into_no_other_file(tmp_path, slow_disk, only_in_saves, delays):
    """The next file that is opened gets the number of the one that was given up."""
    save_checkpoint(tmp_path / "model.pt", {"weight": torch.ones(3)})
    presses = interrupt_after(*delays)
    with pytest.raises(KeyboardInterrupt):
        save_checkpoint(tmp_path / "model.pt", {"weight": torch.full((500_000,), 7.0)})
    with open(tmp_path / "log.csv", "w+b") as log:
        log.write(b"epoch,loss\n")
        log.flush()
        presses.join()
        wait_for_writers()
        time.sleep(0.1)
        assert (tmp_path / "log.csv").read_bytes() == b"epoch,loss\n"
    assert load_checkpoint(tmp_path / "model.pt")["weight"].eq(1).all()
    save_checkpoint(tmp_path / "model.pt", {"weight": torch.zeros(3)})
    assert sorted(os.listdir(tmp_path)) == ["log.csv", "model.pt"]


@pytest.mark.parametrize(
    "saves", [24, pytest.param(INTERRUPTS, marks=pytest.mark.torture)], ids=lambda n: f"{n} saves"
)
def test_interrupts_at_any_moment(tmp_path, saves, capfd):
    """Of saves, asynchronous saves, loads and restores, one or two each, in one process."""
    command = [sys.executable, str(HERE / "interrupt_saves.py"), str(tmp_path), str(saves), "0"]
    environment = {**os.environ, "PYTHONPATH": str(HERE.parents[1])}
    done = subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=1200, check=False
    )
    assert done.returncode == 0, done.stderr
    tally = json.loads(done.stdout)
    assert tally["interrupted"] >= saves // 3, tally
    with capfd.disabled():
        print(f"\n{saves} interrupted calls: {tally}")


def test_a_process_interrupted_while_it_saves_exits(tmp_path):
    code = (
        "import os, signal, sys, threading, time, torch\n"
        "from course_utils.checkpoint import save_checkpoint\n"
        "from course_utils.files import direct_io\n"
        "start = threading.Thread.start\n"
        "def interrupted(thread):\n"
        "    start(thread)\n"
        "    raise KeyboardInterrupt\n"
        "threading.Thread.start = interrupted\n"
        "save_checkpoint(sys.argv[1], {'weight': torch.ones(3_000_000)})\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "model.pt")],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert "KeyboardInterrupt" in done.stderr
    assert os.listdir(tmp_path) == []


# The asynchronous checkpointer


@pytest.fixture
def checkpointer(tmp_path):
    with AsyncCheckpointer(CheckpointManager(tmp_path, keep_last=100)) as checkpointer:
        yield checkpointer


@pytest.fixture
def on_signal():
    before = signal.getsignal(signal.SIGUSR1)
    yield lambda handler: signal.signal(signal.SIGUSR1, lambda *_: handler())
    signal.signal(signal.SIGUSR1, before)


@pytest.mark.parametrize("where", ["_copied", "wait", "start"])
def test_a_signal_handler_saves_in_the_middle_of_a_save(
    checkpointer, tmp_path, monkeypatch, on_signal, where
):
    from course_utils.checkpoint import background

    owner, name = {
        "_copied": (background, "_copied"),
        "wait": (background.AsyncCheckpointer, "wait"),
        "start": (background._Save, "start"),
    }[where]
    real = getattr(owner, name)
    on_signal(lambda: checkpointer.save({"weight": torch.full((1000,), 9.0)}, 9))

    def signalled(*arguments):
        monkeypatch.setattr(owner, name, real)
        result = real(*arguments)
        signal.raise_signal(signal.SIGUSR1)
        return result

    checkpointer.save({"weight": torch.full((1000,), 1.0)}, 1)
    checkpointer.wait()
    monkeypatch.setattr(owner, name, signalled)
    checkpointer.save({"weight": torch.full((1000,), 2.0)}, 2)
    checkpointer.wait()
    checkpointer.save({"weight": torch.full((1000,), 10.0)}, 10)
    checkpointer.wait()
    for step in (1, 2, 9, 10):
        loaded = load_checkpoint(tmp_path / f"step-{step:08}.pt")
        assert loaded["weight"].eq(step).all(), step


def test_a_thread_that_cannot_start_leaves_it_usable(checkpointer, tmp_path, monkeypatch):
    def fail(_):
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", fail)
        with pytest.raises(RuntimeError, match="thread"):
            checkpointer.save({"weight": torch.ones(3)}, 1)
    checkpointer.save({"weight": torch.ones(3)}, 2)
    assert checkpointer.wait() == tmp_path / "step-00000002.pt"


def test_a_thread_that_starts_after_all_writes_nothing(checkpointer, tmp_path, monkeypatch):
    """The interrupt came between the system's thread and ours."""
    started = []

    def late(thread):
        started.append(thread)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", late)
        with pytest.raises(KeyboardInterrupt):
            checkpointer.save({"weight": torch.ones(3)}, 1)
    started[0].start()
    started[0].join()
    checkpointer.wait()
    assert os.listdir(tmp_path) == []


def test_every_saved_file_is_the_state_of_its_step(checkpointer, tmp_path):
    """The model goes on training at once; 200 steps, saved whenever it can be."""
    weight = torch.zeros(50_000)
    for step in range(200):
        weight.fill_(step)
        if step % 4 == 0:
            checkpointer.save({"weight": weight, "step": step}, step)
    checkpointer.wait()
    files = sorted(tmp_path.glob("step-*.pt"))
    assert len(files) == 50
    for path in files:
        loaded = load_checkpoint(path)
        assert loaded["weight"].eq(loaded["step"]).all()
        assert path.name == f"step-{loaded['step']:08}.pt"

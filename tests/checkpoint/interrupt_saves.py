"""Interrupt saves and loads at random moments, once or twice each. Run by test_interrupts.

Usage: python interrupt_saves.py FOLDER CALLS SEED. Prints a tally as JSON.
"""

import json
import os
import random
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import FrameType

import torch

from course_utils.checkpoint import (
    AsyncCheckpointer,
    CheckpointManager,
    load_checkpoint,
    save_checkpoint,
)
from course_utils.files import direct_io


def main(folder: Path, calls: int, seed: int) -> None:
    torch.set_num_threads(1)
    direct_io.BLOCK = 64 << 10
    rng = random.Random(seed)
    path = folder / "model.pt"
    manager = CheckpointManager(folder / "run", keep_last=2, keep_best=0)
    checkpointer = AsyncCheckpointer(manager)
    save_checkpoint(path, state(0))
    manager.save(state(0), 0)
    done = 0  # the last call that was not interrupted, and its step
    tally: Counter[str] = Counter()
    for step in range(1, calls + 1):
        kind, call = rng.choice([
            ("save", lambda step=step: save_checkpoint(path, state(step))),
            ("background", lambda step=step: in_background(checkpointer, step)),
            ("load", lambda: load_checkpoint(path)),
            ("restore", lambda: manager.restore()),
        ])  # fmt: skip
        began = time.perf_counter()
        load_checkpoint(path)
        usual = 3 * (time.perf_counter() - began)
        times = [rng.uniform(0, usual) for _ in range(rng.choice([1, 2]))]
        interrupted = with_interrupts(call, times)
        tally[kind] += 1
        tally["interrupted"] += interrupted
        checkpointer.wait()  # whatever was interrupted, it goes on working
        found = load_checkpoint(path)["step"]
        assert found in (done, step) if kind == "save" else found == done, (kind, found, done)
        done = found
        latest = manager.restore()
        assert torch.equal(latest["weight"], state(latest["step"])["weight"])
    for thread in threading.enumerate():
        if thread is not threading.current_thread():
            thread.join(10)
            assert not thread.is_alive(), f"{thread.name} is left"
    checkpointer.save(state(calls + 1), calls + 1)
    checkpointer.close()
    assert manager.restore()["step"] == calls + 1
    save_checkpoint(path, state(0))
    assert not list(folder.glob(".saving-*")), "temporary files are left"
    print(json.dumps(tally))


def in_background(checkpointer: AsyncCheckpointer, step: int) -> None:
    checkpointer.save(state(step), step)
    checkpointer.wait()


def state(step: int) -> dict[str, object]:
    return {"step": step, "weight": torch.full((300_000,), float(step))}


def with_interrupts(call: Callable[[], object], times: list[float]) -> bool:
    """Call, pressing Ctrl-C at these times; whether one came through."""
    over, armed = threading.Event(), False

    def press() -> None:
        for seconds in times:
            if not over.wait(seconds):
                os.kill(os.getpid(), signal.SIGINT)

    def interrupt(_: int, frame: FrameType | None) -> None:
        """Interrupt the call, and not what stands around it here."""
        if armed and frame and frame.f_code is not with_interrupts.__code__:
            raise KeyboardInterrupt

    signal.signal(signal.SIGINT, interrupt)
    fingers = threading.Thread(target=press)
    fingers.start()
    interrupted = armed = True
    try:
        call()
        interrupted = False
    except BaseException as error:
        armed = False
        # Python's own threading, interrupted, may fail to release a lock that it does not hold.
        if type(error) not in (KeyboardInterrupt, RuntimeError) or not _interrupted(error):
            raise
    armed = False
    over.set()
    fingers.join()
    return interrupted


def _interrupted(error: BaseException | None) -> bool:
    """Whether an error is an interrupt, or came while one was handled."""
    return error is not None and (
        isinstance(error, KeyboardInterrupt) or _interrupted(error.__context__)
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))

"""Kill processes at random moments of a save, and look at what is left. Run by test_faults.

Usage: python kill_saves.py FOLDER KILLS SEED. Prints a tally as JSON.

Each child is forked after the imports, so that a kill costs milliseconds.
"""

import json
import os
import random
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import torch

from course_utils.checkpoint import CheckpointManager, load_checkpoint
from course_utils.files import direct_io as blocks
from course_utils.files.durable import PREFIX
from course_utils.resume.compare import differences


def main(folder: Path, kills: int, seed: int) -> None:
    torch.set_num_threads(1)
    blocks.BLOCK = 64 << 10  # many writes, so that there are many moments to die at
    rng = random.Random(seed)
    manager = CheckpointManager(folder, keep_last=1)
    manager.save(state(0), 0)
    usual = sorted(timed(lambda: die_while_saving(manager, 0, None)) for _ in range(5))[2]
    tally: Counter[str] = Counter()
    newest = 0
    for number in range(1, kills + 1):
        new = number if number % 2 else newest  # the next file, or the same one again
        die_while_saving(manager, new, rng.uniform(0, 1.2 * usual))
        found = CheckpointManager(folder).restore()
        assert found["step"] in (newest, new), f"neither {newest} nor {new}: {found['step']}"
        assert not differences(found, state(found["step"])), "not bit-exact"
        for path in folder.glob("step-*"):
            load_checkpoint(path)
        left = sum(path.name.startswith(PREFIX) for path in folder.iterdir())
        tally["new" if found["step"] > newest else "old"] += 1
        tally["killed while writing"] += left > 0
        assert left <= 1, "a later save did not clean up"
        newest = found["step"]
    manager.save(state(newest), newest)
    assert not list(folder.glob(f"{PREFIX}*")), "temporary files are left"
    print(json.dumps(tally))


def state(step: int) -> dict[str, object]:
    generator = torch.Generator().manual_seed(step)
    weights = [torch.randn(n, generator=generator) for n in (100_000, 3, 200_000)]
    return {"step": step, "weights": weights}


def die_while_saving(manager: CheckpointManager, step: int, seconds: float | None) -> None:
    """Save in a child process, killed after so many seconds if they are given."""
    new = state(step)
    child = os.fork()
    if child == 0:
        manager.save(new, step)
        os._exit(0)
    if seconds is not None:
        time.sleep(seconds)
        os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)


def timed(function: Callable[[], object]) -> float:
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))

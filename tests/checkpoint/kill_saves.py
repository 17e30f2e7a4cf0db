"""Kill processes at all moments of a save, and look at what is left. Run by test_faults.

Usage: python kill_saves.py FOLDER KILLS SEED. Prints a tally by phase as JSON.

Every second kill comes at a random time, the others at a chosen phase of the save: some phases
are so short that random kills would hardly ever hit them. Each child is forked after the
imports, so that a kill costs milliseconds.
"""

import json
import mmap
import os
import random
import signal
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import torch

from course_utils.checkpoint import CheckpointManager, load_checkpoint
from course_utils.files import direct_io as blocks
from course_utils.files.durable import PREFIX
from course_utils.resume.compare import differences

PHASES = ["before the write", "in it", "between fsync and rename", "after", "while pruning"]
BEFORE, IN, BETWEEN, AFTER, PRUNING, DONE, NOT_YET = range(7)


def main(folder: Path, kills: int, seed: int) -> None:
    torch.set_num_threads(1)
    blocks.BLOCK = 64 << 10  # many writes, so that there are many moments to die at
    rng = random.Random(seed)
    CheckpointManager(folder, keep_last=1).save(state(0), 0)
    usual = sorted(_seconds(folder) for _ in range(5))[2]
    tally: Counter[str] = Counter(dict.fromkeys([*PHASES, "too late", "old", "new"], 0))
    newest = 0
    for number in range(1, kills + 1):
        new = number if number % 2 else newest  # the next file, or the same one again
        chosen = rng.choice([BEFORE, IN, BETWEEN, AFTER, PRUNING]) if rng.random() < 0.5 else None
        phase = die_while_saving(folder, new, chosen, rng, rng.uniform(0, 1.2 * usual))
        found = CheckpointManager(folder).restore()
        assert found["step"] in (newest, new), f"neither {newest} nor {new}: {found['step']}"
        assert phase < AFTER or found["step"] == new, "a renamed file was lost"
        assert not differences(found, state(found["step"])), "not bit-exact"
        for path in folder.glob("step-*"):
            load_checkpoint(path)
        left = sum(path.name.startswith(PREFIX) for path in folder.iterdir())
        assert left <= 1, "a later save did not clean up"
        tally["new" if found["step"] > newest else "old"] += 1
        tally[[*PHASES, "too late"][phase]] += 1
        newest = found["step"]
    manager = CheckpointManager(folder, keep_last=1, keep_best=0)
    manager.save(state(newest + 1), newest + 1)
    assert [path.name for path in folder.iterdir()] == [manager.latest().name], "files are left"
    print(json.dumps(tally))


def state(step: int) -> dict[str, object]:
    generator = torch.Generator().manual_seed(step)
    weights = [torch.randn(n, generator=generator) for n in (100_000, 3, 200_000)]
    return {"step": step, "weights": weights}


def die_while_saving(
    folder: Path, step: int, chosen: int | None, rng: random.Random, seconds: float
) -> int:
    """Save in a child that is killed in the chosen phase, or after so many seconds.

    Returns:
        The phase in which it died.
    """
    new, reached, event = state(step), mmap.mmap(-1, 1), rng.randrange(4)
    reached[0] = NOT_YET
    child = os.fork()
    if child == 0:
        try:
            manager = CheckpointManager(folder, keep_last=1, keep_best=0)
            manager.restore()
            watch(manager, reached, chosen, event)
            manager.save(new, step)
            reached[0] = DONE
            signal.pause()
        finally:
            os._exit(1)
    waiting = (NOT_YET,) if chosen is None else set(range(7)) - {DONE}
    while reached[0] in waiting and _lives(child):
        time.sleep(1e-4)
    if chosen is None:
        time.sleep(seconds)
    os.kill(child, signal.SIGKILL)
    assert os.waitpid(child, 0)[1] == signal.SIGKILL, "the child failed by itself"
    return reached[0]


def _lives(child: int) -> bool:
    return os.waitid(os.P_PID, child, os.WEXITED | os.WNOWAIT | os.WNOHANG) is None


def watch(manager: Any, reached: mmap.mmap, chosen: int | None, event: int) -> None:
    """Note the phases of a save, and die at one of the first events of the chosen phase."""
    events: Counter[int] = Counter()

    def enter(phase: int) -> None:
        reached[0] = phase
        events[phase] += 1
        last = {IN: event + 1, PRUNING: event % 2 + 1}.get(phase, 1)
        if phase == chosen and events[phase] == last:
            os.kill(os.getpid(), signal.SIGKILL)

    def noting(owner: Any, name: str, before: int | None, after: int | None) -> None:
        function = getattr(owner, name)

        def call(*arguments: Any, **options: Any) -> Any:
            if before is not None:
                enter(before)
            result = function(*arguments, **options)
            if after is not None:
                enter(after)
            return result

        setattr(owner, name, call)

    noting(os, "pwrite", IN, None)
    noting(os, "replace", BETWEEN, AFTER)
    noting(manager, "_prune", PRUNING, None)
    noting(manager, "_remove", None, PRUNING)
    enter(BEFORE)


def _seconds(folder: Path) -> float:
    start = time.perf_counter()
    CheckpointManager(folder.parent / "timed").save(state(0), int(time.time_ns()))
    return time.perf_counter() - start


if __name__ == "__main__":
    main(Path(sys.argv[1]) / "run", int(sys.argv[2]), int(sys.argv[3]))

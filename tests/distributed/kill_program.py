"""Saves checkpoint after checkpoint in a child process and kills it at random moments.

    python kill_program.py FOLDER TRIALS SEED

A quarter of the kills, or more, must hit a save. The parent loads after each kill. What the
child had announced as saved must be there, or something newer; and every tensor must hold the
number of its step.
"""

import os
import random
import signal
import sys
import tempfile
import time
from pathlib import Path

import torch
from torch import nn

from course_utils.distributed import commit
from course_utils.distributed.folder import prune
from course_utils.distributed.sharded import AsyncSaver, ShardedRun, load_sharded, save_sharded
from course_utils.resume.sampler import ResumableSampler


def new_run() -> ShardedRun:
    model = nn.Linear(64, 64)
    return ShardedRun(model, torch.optim.Adam(model.parameters()), ResumableSampler(10))


def save_until_killed(folder: Path, step: int, announce: int, in_background: bool) -> None:
    run, saver = new_run(), AsyncSaver(folder)
    while True:
        step += 1
        with torch.no_grad():
            for weights in run.model.parameters():
                weights.fill_(step)
        if in_background:
            saver.save(step, run)
            saver.wait()
        else:
            save_sharded(folder, step, run)
        os.write(announce, f"{step}\n".encode())
        prune(folder, keep_last=2)


def trial(folder: Path, step: int, in_background: bool, one_save: float) -> int:
    """Let a child save from ``step`` on, kill it, and return the step found then.

    It is killed within about a save's time (seconds) after its first, second or third save.
    """
    listen, announce = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(listen)
        save_until_killed(folder, step, announce, in_background)
    os.close(announce)
    with os.fdopen(listen) as lines:
        announced = [int(next(lines)) for _ in range(random.randint(1, 3))]
        time.sleep(random.uniform(0, 2 * one_save))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        announced += [int(line) for line in lines if line.endswith("\n")]
    run = new_run()
    found = load_sharded(folder, run)
    assert found >= max(announced), (found, announced)
    assert all((weights == found).all() for weights in run.model.parameters()), found
    return found


def main() -> None:
    folder, trials, seed = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    random.seed(seed)
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as warm_up:  # the first save in a process takes longer
        save_sharded(Path(warm_up), 1, new_run())
        start = time.perf_counter()
        save_sharded(Path(warm_up), 2, new_run())
        one_save = time.perf_counter() - start
        load_sharded(Path(warm_up), new_run())
    step = kills = unfinished = 0
    while kills < trials or unfinished < trials // 4:
        step = trial(folder, step, kills % 2 == 1, one_save)
        unfinished += not commit.is_committed(commit.step_folders(folder)[-1])
        kills += 1
        assert kills < 20 * trials, "the kills do not hit the saves: the trials show nothing"
    print(f"{kills} kills, {unfinished} of them in the middle of a save, {step} steps saved")


if __name__ == "__main__":
    main()

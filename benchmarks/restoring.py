"""How long it takes to load a file into a model that is there.

Each way is timed in a process that has loaded nothing before ("fresh"), and in one that has
("warm"): the C library keeps memory that was freed, and later loads find it ready.
"""

import os
import pickle
import statistics
import sys
import time
import traceback
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TypeVar

import safetensors.torch
import torch
from torch import nn

from benchmarks.states import STATES
from benchmarks.timing import folder, interleaved, ratios, verdict
from course_utils.checkpoint import load_checkpoint, read_into, restore_checkpoint, save_checkpoint
from course_utils.files.contents import open_contents
from course_utils.files.open_file import OpenFile
from course_utils.resume import TrainState

T = TypeVar("T")
ROUNDS = 5
RUNS = ("3 MB", "300 MB", "75 of 4 MB")
PARTS = "torch.load + each load_state_dict"
TORCH, OURS, FLOOR = "torch.load + load_state_dict", "restore_checkpoint", "CRC pass + raw read"


def main(sizes: list[str]) -> None:
    torch.set_num_threads(1)  # the processes are forked
    for size in sizes or list(STATES):
        with folder() as path:
            _in_child(partial(_save, path, size))
            fresh = {
                name: statistics.median(
                    _in_child(partial(_once, name, path, size)) for _ in range(ROUNDS)
                )
                for name in (TORCH, OURS)
            }
            warm = _in_child(partial(_warm, path, size))
        _report(f"Restore {size}, fresh process", fresh)
        _report(f"Restore {size}, warm process", warm)
        verdict("against the CRC pass and the raw read", warm[OURS] / warm[FLOOR], 1.3)
    for size in [size for size in sizes or STATES if size in RUNS]:
        with folder() as path:
            times = _in_child(partial(_whole_run, path, size))
        ratios(f"Restore a TrainState with Adam, model of {size}", times, PARTS)
        verdict("against torch.load + each load_state_dict", times[OURS] / times[PARTS], 1)


def _report(title: str, times: dict[str, float]) -> None:
    ratios(title, times, TORCH)
    verdict("against torch.load + load_state_dict", times[OURS] / times[TORCH], 1)


def ways(path: Path, model: nn.Module) -> dict[str, Callable[[], object]]:
    """Return the ways to load a file into a model."""
    memory = bytearray(read_into.CHUNK)

    def floor() -> None:
        records = open_contents(path / "ours.pt").records.values()
        with OpenFile(path / "ours.pt") as file:
            read_into.verify(file, records)
        with open(path / "ours.pt", "rb", buffering=0) as content:
            while content.readinto(memory):
                pass

    return {
        TORCH: lambda: model.load_state_dict(torch.load(path / "ours.pt")),
        OURS: lambda: restore_checkpoint(path / "ours.pt", model),
        "load_checkpoint + load_state_dict": lambda: model.load_state_dict(
            load_checkpoint(path / "ours.pt")
        ),
        "safetensors + load_state_dict": lambda: model.load_state_dict(
            safetensors.torch.load_file(path / "safetensors")
        ),
        FLOOR: floor,
    }


def _whole_run(path: Path, size: str) -> dict[str, float]:
    """Time a training state whose optimizer has stepped, in this process."""
    model = _model(size)
    optimizer = torch.optim.Adam(model.parameters(), foreach=False)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 3)
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    optimizer.zero_grad()
    run = TrainState(model, optimizer, scheduler=scheduler)
    save_checkpoint(path / "run.pt", run.state_dict())

    def by_parts() -> None:
        state = torch.load(path / "run.pt")
        for part in ("model", "optimizer", "scheduler"):
            getattr(run, part).load_state_dict(state[part])

    ways = {PARTS: by_parts, OURS: lambda: restore_checkpoint(path / "run.pt", run)}
    return interleaved(ways, rounds=ROUNDS)


def _model(size: str) -> nn.Module:
    return nn.ParameterList(STATES[size]().values())


def _save(path: Path, size: str) -> None:
    state = _model(size).state_dict()
    save_checkpoint(path / "ours.pt", state)
    safetensors.torch.save_file(state, path / "safetensors")


def _once(way: str, path: Path, size: str) -> float:
    call = ways(path, _model(size))[way]
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def _warm(path: Path, size: str) -> dict[str, float]:
    return interleaved(ways(path, _model(size)), rounds=ROUNDS)


def _in_child(work: Callable[[], T]) -> T:
    """Do something in a process of its own, forked from this one, which never loads."""
    ready, result = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            with os.fdopen(result, "wb") as file:
                pickle.dump(work(), file)
            os._exit(0)
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(1)
    os.close(result)
    with os.fdopen(ready, "rb") as file:
        answer = file.read()
    if os.waitpid(child, 0)[1]:
        raise ChildProcessError("a measuring process failed")
    value: T = pickle.loads(answer)
    return value


if __name__ == "__main__":
    main(sys.argv[1:])

"""How long a verified load takes, warm and cold, against loads that verify nothing."""

import os
import sys
import warnings
from pathlib import Path

import safetensors.torch
import torch
import torch.distributed.checkpoint as dcp

from benchmarks.states import STATES, State
from benchmarks.timing import folder, interleaved, ratios, verdict
from course_utils.checkpoint import load_checkpoint, save_checkpoint

warnings.filterwarnings("ignore", message="torch.distributed is disabled")


def main(sizes: list[str]) -> None:
    for size in sizes or list(STATES):
        state = STATES[size]()
        with folder() as path:
            save_checkpoint(path / "ours.pt", state)
            safetensors.torch.save_file(state, path / "safetensors")
            dcp.save(state, storage_writer=dcp.FileSystemWriter(path / "dcp"), no_dist=True)
            warm(size, path, state)
            cold(size, path)


def warm(size: str, path: Path, state: State) -> None:
    ready = {name: torch.zeros_like(tensor) for name, tensor in state.items()}
    memory = bytearray((path / "ours.pt").stat().st_size)
    reader = dcp.FileSystemReader(path / "dcp")
    times = interleaved(
        {
            "raw read": lambda: raw_read(path / "ours.pt", memory),
            "torch.load": lambda: torch.load(path / "ours.pt", weights_only=True),
            "load_checkpoint": lambda: load_checkpoint(path / "ours.pt"),
            "safetensors, all touched": lambda: safetensors_load(path / "safetensors"),
            "distributed checkpoint": lambda: dcp.load(ready, storage_reader=reader, no_dist=True),
        }
    )
    ratios(f"Load {size}, warm", times, "torch.load", "raw read")
    if size in ("300 MB", "2 GB"):
        ours = times["load_checkpoint"]
        verdict("against torch.load", ours / times["torch.load"], 0.6)
        verdict("against the raw read", ours / times["raw read"], 1.4)


def cold(size: str, path: Path) -> None:
    if size not in ("300 MB", "2 GB"):
        return
    memory = bytearray((path / "ours.pt").stat().st_size)
    times = interleaved(
        {
            "raw read": lambda: raw_read(path / "ours.pt", memory),
            "torch.load": lambda: torch.load(path / "ours.pt", weights_only=True),
            "load_checkpoint": lambda: load_checkpoint(path / "ours.pt"),
        },
        between=lambda: forget(path / "ours.pt"),
    )
    ratios(f"Load {size}, cold", times, "torch.load", "raw read")
    verdict("against the raw cold read", times["load_checkpoint"] / times["raw read"], 1.1)


def safetensors_load(path: Path) -> State:
    """It maps the file and reads nothing yet; a load is done when the numbers are there."""
    state = safetensors.torch.load_file(path)
    for tensor in state.values():
        tensor.flatten().view(torch.uint8)[::4096].sum()
    return state


def raw_read(path: Path, memory: bytearray) -> None:
    """Read a file into memory that is ready: the least a load can take with one thread."""
    view = memoryview(memory)
    with open(path, "rb", buffering=0) as file:
        while view:
            view = view[file.readinto(view) :]


def forget(path: Path) -> None:
    """Drop a file from the system's cache."""
    with open(path, "rb") as file:
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


if __name__ == "__main__":
    main(sys.argv[1:])

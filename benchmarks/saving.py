"""How long a durable save takes, against torch, safetensors, DCP, and the raw disk."""

import mmap
import os
import sys
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path

import safetensors.torch
import torch
import torch.distributed.checkpoint as dcp

from benchmarks.states import STATES, State, nbytes
from benchmarks.timing import folder, interleaved, ratios, settle, verdict
from course_utils.checkpoint import save_checkpoint

BLOCK = 4 << 20
Save = Callable[[State, Path], object]
warnings.filterwarnings("ignore", message="torch.distributed is disabled")


def main(sizes: list[str]) -> None:
    for size in sizes or list(STATES):
        state = STATES[size]()
        with folder() as path:
            savers = {**SAVERS, **other_libraries()}
            functions = {
                name: partial(save, state, path / "saved") for name, save in savers.items()
            }
            times = interleaved(functions, between=lambda: settle(path))
        ratios(f"Save {size}", times, "torch.save + fsync", "raw O_DIRECT + fsync")
        judge(size, times)


def judge(size: str, times: dict[str, float]) -> None:
    ours = times["save_checkpoint"]
    large = size in ("300 MB", "2 GB")
    verdict("against torch.save + fsync", ours / times["torch.save + fsync"], 0.5 if large else 1.1)
    if large:
        verdict("against the raw write", ours / times["raw O_DIRECT + fsync"], 1.2)
        for name in times:
            if name not in ("save_checkpoint", "torch.save + fsync") and "raw" not in name:
                verdict(f"against {name}", ours / times[name], 1)


def torch_save(state: State, path: Path) -> None:
    with open(path, "wb") as file:
        torch.save(state, file)
        file.flush()
        os.fsync(file.fileno())


def safetensors_save(state: State, path: Path) -> None:
    safetensors.torch.save_file(state, path)
    flush(path)


def dcp_save(state: State, path: Path) -> None:
    """One process, no process group; its writer flushes by itself."""
    dcp.save(state, storage_writer=dcp.FileSystemWriter(path), no_dist=True)


def raw_direct(state: State, path: Path) -> None:
    """The least a durable save can take: the same number of bytes, from memory that is ready."""
    size = nbytes(state)
    file = os.open(path, os.O_CREAT | os.O_WRONLY | os.O_DIRECT)
    for start in range(0, size, BLOCK):
        length = min(BLOCK, size - start)
        os.pwrite(file, _block[: length + -length % 4096], start)
    os.fsync(file)
    os.close(file)


def raw_buffered(state: State, path: Path) -> None:
    with open(path, "wb", buffering=0) as file:
        for tensor in state.values():
            file.write(tensor.numpy().data)
        os.fsync(file.fileno())


def flush(path: Path) -> None:
    with open(path, "rb") as file:
        os.fsync(file.fileno())


def _ready_block() -> memoryview:
    block = mmap.mmap(-1, BLOCK, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    block.madvise(mmap.MADV_HUGEPAGE)  # as the engine's own blocks: the floor must be low
    block[:] = os.urandom(BLOCK)
    return memoryview(block)


_block = _ready_block()

SAVERS: dict[str, Save] = {
    "raw O_DIRECT + fsync": raw_direct,
    "raw buffered + fsync": raw_buffered,
    "torch.save + fsync": torch_save,
    "save_checkpoint": lambda state, path: save_checkpoint(path, state),
    "safetensors + fsync": safetensors_save,
    "distributed checkpoint": dcp_save,
}


def other_libraries() -> dict[str, Save]:
    """Lightning's and accelerate's own savers, where they are installed."""
    found: dict[str, Save] = {}
    try:
        from lightning.fabric.utilities.cloud_io import _atomic_save
    except ImportError:
        print("Lightning is not installed: left out", file=sys.stderr)
    else:
        found["Lightning + fsync"] = flushed(_atomic_save)
    try:
        from accelerate.utils import save
    except ImportError:
        print("accelerate is not installed: left out", file=sys.stderr)
    else:
        found["accelerate + fsync"] = flushed(save)
    return found


def flushed(save: Save) -> Save:
    """Let a way to save end when the disk has it."""

    def durably(state: State, path: Path) -> None:
        save(state, path)
        flush(path)

    return durably


if __name__ == "__main__":
    main(sys.argv[1:])

"""Make things go wrong on purpose: saves that die half-way, disks without room, flipped bits.

``python -m course_utils.lessons.faults FOLDER`` prints what remains of a checkpoint when a
save over it dies, as JSON; see `saves_that_die`.
"""

import json
import os
import resource
import signal
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

import torch

from course_utils.checkpoint import load_checkpoint, save_checkpoint
from course_utils.errors import CheckpointError
from course_utils.files.contents import open_contents

FRACTIONS = [n / 20 for n in range(1, 20)]


class Death(NamedTuple):
    """A save that died: with what it saved, after which part of the file, and what remained.

    ``remains`` is "old", "new", or "lost": a file that will not load.
    """

    saver: str
    fraction: float
    remains: str


def saves_that_die(folder: Path) -> list[Death]:
    """Save over a checkpoint, in processes that end after each twentieth of the file.

    ``torch.save`` and ``save_checkpoint`` are compared. The system ends a process when its file
    reaches a limit, as suddenly as SIGKILL, but at a byte of our choice.

    Args:
        folder: an empty folder to work in.
    """
    command = [sys.executable, "-m", "course_utils.lessons.faults", os.fspath(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return [Death(*death) for death in json.loads(done.stdout)]


@contextmanager
def file_size_limit(size: int) -> Iterator[None]:
    """Let no file of this process grow beyond so many bytes: a full disk, without the harm."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def flip_bit(path: Path, record: str, position: int, bit: int) -> None:
    """Flip one bit of a record's data, as a failing disk or memory would.

    Args:
        path: a checkpoint, changed in place.
        record: for example ``"data/0"``.
        position: of the byte, from the record's start.
        bit: 0 for the lowest to 7.
    """
    with open(path, "r+b") as file:
        file.seek(open_contents(path).records[record].offset + position)
        (byte,) = file.read(1)
        file.seek(-1, os.SEEK_CUR)
        file.write(bytes([byte ^ 1 << bit]))


def count_calls(save: Callable[[], object]) -> dict[str, int]:
    """Run a save and count what Python asks the system for: the steps of a durable save.

    Returns:
        How often a file was flushed, a name was moved, and a folder was flushed. What a library
        does in another language is not seen.
    """
    counts = {"fsync of a file": 0, "renamed": 0, "fsync of a folder": 0}
    real_fsync, real_replace, real_rename = os.fsync, os.replace, os.rename

    def fsync(file: Any) -> None:
        folder = stat.S_ISDIR(os.fstat(file if isinstance(file, int) else file.fileno()).st_mode)
        counts["fsync of a folder" if folder else "fsync of a file"] += 1
        real_fsync(file)

    def moved(move: Callable[..., None]) -> Callable[..., None]:
        def call(*arguments: Any, **options: Any) -> None:
            counts["renamed"] += 1
            move(*arguments, **options)

        return call

    with (
        mock.patch.object(os, "fsync", fsync),
        mock.patch.object(os, "replace", moved(real_replace)),
        mock.patch.object(os, "rename", moved(real_rename)),
    ):
        save()
    return counts


def run_in_new_process(code: str) -> int:
    """Run Python code in a process of its own; return its exit status, negative for a signal."""
    return subprocess.run([sys.executable, "-c", code], capture_output=True, check=False).returncode


def _main(folder: Path) -> None:
    torch.set_num_threads(1)
    savers: dict[str, Callable[[Path, Any], object]] = {
        "torch.save": _torch_save,
        "save_checkpoint": save_checkpoint,
    }
    deaths = [
        Death(name, fraction, _remains_of(saver, folder / f"{name}.pt", fraction))
        for name, saver in savers.items()
        for fraction in FRACTIONS
    ]
    print(json.dumps(deaths))


def _remains_of(saver: Callable[[Path, Any], object], path: Path, fraction: float) -> str:
    save_checkpoint(path, _state("old"))
    child = os.fork()
    if child == 0:
        _die_at(round(fraction * path.stat().st_size))
        saver(path, _state("new"))
        os._exit(0)
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status), "the save was to die"
    try:
        return load_checkpoint(path)["name"]
    except CheckpointError:
        return "lost"


def _die_at(size: int) -> None:
    """End this process, without a core file, when a file of its own reaches a size."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))


def _state(name: str) -> dict[str, Any]:
    return {"name": name, "weight": torch.ones(300_000)}


def _torch_save(path: Path, state: Any) -> None:
    torch.save(state, path)


if __name__ == "__main__":
    _main(Path(sys.argv[1]))

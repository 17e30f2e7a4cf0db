"""Write a checkpoint durably."""

import os
from pathlib import Path
from typing import Any, BinaryIO

import torch

from course_utils.durable import write_atomically


def save_checkpoint(path: str | os.PathLike[str], state: Any) -> Path:
    """Save a checkpoint so that no crash can cost the one that was there before.

    The file is the one ``torch.save`` writes: ``torch.load(path, weights_only=True)`` reads it
    if ``state`` is made of tensors, numbers, strings, None, lists, tuples and dicts.

    Args:
        path: the file to create or replace; its folder must exist.
        state: what to save, usually a dict of state_dicts.

    Returns:
        The path.

    Raises:
        CheckpointWriteError: nothing was written and the old file is untouched.
    """
    write_atomically(path, lambda file: _torch_save(state, file))
    return Path(path)


def _torch_save(state: Any, file: BinaryIO) -> None:
    remembering = _RememberingFile(file)
    try:
        torch.save(state, remembering)  # type: ignore[arg-type]
    except RuntimeError:
        if remembering.error:  # torch hides the system's error behind one of its own
            raise remembering.error from None
        raise


class _RememberingFile:
    def __init__(self, file: BinaryIO) -> None:
        self.file = file
        self.error: OSError | None = None

    def write(self, data: bytes) -> int:
        try:
            return self.file.write(data)
        except OSError as error:
            self.error = error
            raise

    def flush(self) -> None:
        self.file.flush()

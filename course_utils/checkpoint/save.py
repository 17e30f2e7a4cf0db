"""Write a checkpoint: the pickle as torch makes it, the storages by our own writer, durably."""

import os
import sys
from pathlib import Path
from typing import Any, BinaryIO

import torch
from zlib_ng import zlib_ng

from course_utils.checkpoint.assign_mark import say_mark
from course_utils.checkpoint.pickler import LeaveItToTorchError, PickledState
from course_utils.checkpoint.torch_versions import storage_alignment
from course_utils.files.durable import write_atomically
from course_utils.files.zip_writer import ArchiveWriter
from course_utils.formats.torch_layout import LARGEST_ALIGNMENT


def save_checkpoint(path: str | os.PathLike[str], state: Any, *, compact: bool = False) -> Path:
    """Save a checkpoint so that no crash can cost the one that was there before.

    The file is laid out as ``torch.save`` does: ``torch.load(path, weights_only=True)`` reads
    it if ``state`` is made of tensors, numbers, strings, None, lists, tuples and dicts.
    Tensors that share memory share it in the file.

    Args:
        path: the file to create or replace; its folder must exist.
        state: what to save, usually a dict of state_dicts; tensors may be on any device.
        compact: save only the elements a tensor shows, not the whole memory it is a view of.
            Such views no longer share memory after loading.

    Returns:
        The path.

    Raises:
        CheckpointWriteError: nothing was written and the old file is untouched.
        ValueError: torch's setting for the alignment of storages does not fit a zip file.
    """
    try:
        save_pickled(path, PickledState(state, compact=compact))
    except LeaveItToTorchError:
        write_atomically(path, lambda file: _torch_save(state, file))
    return Path(path)


def save_pickled(path: str | os.PathLike[str], state: PickledState) -> None:
    """Do what `save_checkpoint` does with a state that is pickled already."""
    _refuse_alignment(storage_alignment())
    size = len(state.pickle) + sum(map(len, state.storages))
    write_atomically(path, lambda file: _write_archive(state, file), size=size)
    if state.was_marked:
        say_mark(path, "Not saved with it")


def _write_archive(state: PickledState, file: BinaryIO) -> None:
    alignment = storage_alignment()
    with ArchiveWriter(file.fileno(), alignment) as archive:
        archive.add("data.pkl", state.pickle)
        archive.add(".format_version", b"1")
        archive.add(".storage_alignment", str(alignment).encode())
        archive.add("byteorder", sys.byteorder.encode())
        for key, storage in enumerate(state.storages):
            archive.add(f"data/{key}", storage)
        archive.add("version", b"3\n")
        archive.add(".data/serialization_id", _identity(archive))


def _refuse_alignment(alignment: int) -> None:
    """A zip file has room for 65,535 bytes of padding; torch.save writes garbage beyond."""
    if not 1 <= alignment <= LARGEST_ALIGNMENT:
        raise ValueError(
            f"torch.utils.serialization.config.save.storage_alignment is {alignment:,}: a "
            f"checkpoint can be aligned to 1 to {LARGEST_ALIGNMENT:,} bytes"
        )


def _identity(archive: ArchiveWriter) -> bytes:
    """Return 40 digits that change with the names and contents of the records, as torch has."""
    names = zlib_ng.crc32(b"".join(entry.name for entry in archive.entries))
    contents = zlib_ng.crc32(b"".join(e.crc32.to_bytes(4, "little") for e in archive.entries))
    return f"{names:020}{contents:020}".encode()


def _torch_save(state: Any, file: BinaryIO) -> None:
    remembering = _RememberingFile(file)
    try:
        torch.save(state, remembering)
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

    def __getattr__(self, name: str) -> Any:
        return getattr(self.file, name)

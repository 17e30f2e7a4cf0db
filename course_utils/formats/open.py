"""The zip directory of a ``.pt`` file: which records it holds, and where their bytes lie."""

import os
from pathlib import Path
from typing import BinaryIO

from course_utils.errors import (
    CheckpointError,
    DamagedCheckpointError,
    MissingCheckpointError,
    NotACheckpointError,
    UnsupportedCheckpointError,
)
from course_utils.formats.zip import ZIP, Locate, MalformedZipError, Record, read_directory

LEGACY_PICKLE = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."  # torch.serialization's magic number
RESAVE = "Load it where it was made and save its state_dict again with torch.save."


def read_records(path: str | os.PathLike[str]) -> dict[str, Record]:
    """Read the directory of a checkpoint that ``torch.save`` wrote; names lose their prefix.

    Raises:
        MissingCheckpointError: there is no such file.
        NotACheckpointError: a folder, an empty file, text, or another kind of zip file.
        DamagedCheckpointError: the directory is gone or contradicts the file.
        UnsupportedCheckpointError: TorchScript, an exported program, or the format before 1.6.
    """
    path = Path(path)
    with open_checkpoint(path) as file:
        return records_of(path, file)


def records_of(path: Path, file: BinaryIO, locate: Locate | None = None) -> dict[str, Record]:
    """Do what `read_records` does with a file that `open_checkpoint` has opened.

    Args:
        path: for messages.
        file: the open file.
        locate: as for `read_directory`.
    """
    try:
        records = read_directory(file, os.fstat(file.fileno()).st_size, locate)
    except MalformedZipError as error:
        raise DamagedCheckpointError(
            f"{path}: its zip directory, at the end of the file, cannot be relied on: {error}. "
            "The file was cut off or overwritten; use an earlier checkpoint."
        ) from None
    prefix = _require_checkpoint(path, [record.name for record in records])
    return {
        name: record._replace(name=name)
        for record in records
        if (name := record.name.removeprefix(prefix))
    }


def open_checkpoint(path: Path) -> BinaryIO:
    """Open a file that begins as a zip archive does, or say what it is instead.

    Raises:
        MissingCheckpointError, NotACheckpointError, UnsupportedCheckpointError: see `read_records`.
    """
    if path.is_dir():
        raise NotACheckpointError(f"{path} is a folder; name a file in it.")
    try:
        file = open(path, "rb", buffering=0)  # noqa: SIM115 - handed to the caller
    except FileNotFoundError:
        raise MissingCheckpointError(f"{path}: there is no such file.") from None
    problem = _other_format(path, file.read(512))
    if problem:
        file.close()
        raise problem
    return file


def _other_format(path: Path, start: bytes) -> CheckpointError | None:
    if not start:
        return NotACheckpointError(f"{path} is empty. Was the disk full when it was saved?")
    if start.startswith(LEGACY_PICKLE) or start[257:262] == b"ustar":
        return UnsupportedCheckpointError(
            f"{path} is in the format of PyTorch before 1.6, which has no checksums. {RESAVE}"
        )
    if not start.startswith(ZIP):
        return NotACheckpointError(
            f"{path} is not a checkpoint: it begins with {start[:12]!r}, not with {ZIP!r}."
        )
    return None


def _require_checkpoint(path: Path, names: list[str]) -> str:
    """Return the prefix of all records, with its slash: the one of the first, as torch has it."""
    prefix = names[0].partition("/")[0] + "/" if names else ""
    if prefix + "constants.pkl" in names or prefix + "code/" in names:
        raise UnsupportedCheckpointError(
            f"{path} is a TorchScript archive, a program and not a checkpoint. "
            "Open it with course_utils.torchscript.load_script."
        )
    if any(name.endswith(("archive_format", "serialized_exported_program.json")) for name in names):
        raise UnsupportedCheckpointError(
            f"{path} is an exported program (.pt2). Open it with torch.export.load."
        )
    if prefix + "data.pkl" not in names:
        raise NotACheckpointError(
            f"{path} is a zip file without data.pkl, so torch.save did not write it."
        )
    if not all(name.startswith(prefix) for name in names):
        raise DamagedCheckpointError(
            f"{path} holds records outside of {prefix}, so torch.save did not write it."
        )
    return prefix

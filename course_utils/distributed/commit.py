"""The commit record: what makes a folder full of files one checkpoint.

Many processes write many files, and any of them may die at any time. So a checkpoint is a
folder, and it counts only once it holds ``commit.json``: the list of its files with their
sizes and checksums, written last, in one piece. A folder without it is a save that never
ended, and is ignored.
"""

import json
import os
import re
import shutil
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

from zlib_ng.zlib_ng import crc32

from course_utils.errors import DamagedCheckpointError, MissingCheckpointError
from course_utils.files.durable import write_atomically
from course_utils.formats import folder_kinds

RECORD = folder_kinds.COMMIT
_STEP = re.compile(r"step-\d{8,}")
_BLOCK = 1 << 22  # bytes


@dataclass(frozen=True)
class Part:
    """One file of a checkpoint: its size in bytes and the CRC-32 of its content."""

    bytes: int
    crc32: int


def step_folder(folder: Path, step: int) -> Path:
    """Return where the checkpoint of a step lives."""
    return folder / f"step-{step:08d}"


def step_of(checkpoint: Path) -> int:
    """Return the step of a checkpoint's folder."""
    return int(checkpoint.name.removeprefix("step-"))


def is_committed(checkpoint: Path) -> bool:
    """Return whether a folder counts as a checkpoint."""
    return (checkpoint / RECORD).is_file()


def step_folders(folder: Path) -> list[Path]:
    """Return the folders of all steps, committed or not, oldest first."""
    return sorted((p for p in folder.glob("step-*") if _STEP.fullmatch(p.name)), key=step_of)


def committed(folder: Path) -> list[Path]:
    """Return the committed checkpoints in a folder, oldest first."""
    return [path for path in step_folders(folder) if is_committed(path)]


def commit(checkpoint: Path, parts: dict[str, Part]) -> None:
    """Make a folder a checkpoint: from here on it counts, also after a power cut.

    Args:
        checkpoint: the folder; every file of it must already be on disk.
        parts: its files by name.
    """
    record = {"files": {name: asdict(part) for name, part in sorted(parts.items())}}
    write_atomically(
        checkpoint / RECORD, lambda file: file.write(json.dumps(record, indent=1).encode())
    )
    _sync_folder(checkpoint.parent)


def read_record(checkpoint: Path) -> dict[str, Part]:
    """Return the files of a committed checkpoint by name.

    Raises:
        MissingCheckpointError: there is no commit record.
        DamagedCheckpointError: the record cannot be read.
    """
    path = checkpoint / RECORD
    try:
        files = json.loads(path.read_bytes())["files"]
        for name in files:
            if (
                Path(name).name != name or name == ".."
            ):  # an absolute path, or one that leads out of the folder
                raise ValueError(f"{name!r} is no name of a file in the folder")
        return {str(name): Part(**part) for name, part in files.items()}
    except FileNotFoundError:
        raise MissingCheckpointError(
            f"{checkpoint}: no checkpoint was committed here ({RECORD} is missing); "
            "a save that did not end leaves such a folder, use an older checkpoint"
        ) from None
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise DamagedCheckpointError(
            f"{path}: the commit record is damaged ({error}); use an older checkpoint"
        ) from error


def measure(path: Path) -> Part:
    """Read a file and return its size and checksum."""
    total, checksum = 0, 0
    with open(path, "rb") as file:
        while block := file.read(_BLOCK):
            total += len(block)
            checksum = crc32(block, checksum)
    return Part(total, checksum)


def problems(checkpoint: Path, parts: Iterable[tuple[str, Part]]) -> list[str]:
    """Return what is wrong with the files named, one line each; none if all are whole.

    Args:
        checkpoint: the folder.
        parts: names and what they should be.
    """
    return [line for name, part in parts if (line := _problem(checkpoint / name, part))]


def remove(checkpoint: Path) -> None:
    """Remove a checkpoint or what is left of one.

    The record goes first, so that a half-removed folder never counts.
    """
    (checkpoint / RECORD).unlink(missing_ok=True)
    _sync_folder(checkpoint)
    shutil.rmtree(checkpoint)


def _sync_folder(folder: Path) -> None:
    """Bring the names in a folder to disk."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _problem(path: Path, expected: Part) -> str | None:
    try:
        found = measure(path)
    except FileNotFoundError:
        return f"{path} is missing"
    except OSError as error:
        return f"{path} cannot be read ({error.strerror})"
    if found.bytes != expected.bytes:
        return f"{path} has {found.bytes:,} bytes, not {expected.bytes:,}"
    if found.crc32 != expected.crc32:
        return f"{path} is damaged: its checksum is {found.crc32:08x}, not {expected.crc32:08x}"
    return None

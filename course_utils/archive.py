"""The zip directory of a ``.pt`` file: which records it holds, and where their bytes lie."""

import os
import struct
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from course_utils.errors import (
    CheckpointError,
    DamagedCheckpointError,
    MissingCheckpointError,
    NotACheckpointError,
    UnsupportedCheckpointError,
)

ZIP = b"PK\x03\x04"
LEGACY_PICKLE = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."  # torch.serialization's magic number
LOCAL_HEADER = struct.Struct("<4s22xHH")  # PKWARE's APPNOTE.TXT, section 4.3.7
RESAVE = "Load it where it was made and save its state_dict again with torch.save."


@dataclass(frozen=True, slots=True)
class Record:
    """One record of the archive.

    Attributes:
        name: without the archive's prefix, for example ``data/0``.
        header: byte position of its local zip header.
        padding: byte position of the filler that aligns the data; ``offset`` if there is none.
        offset: byte position of the data.
        size: bytes of data, uncompressed.
        stored: bytes it takes in the file.
        crc32: checksum of the data, as the directory says.
        compressed: whether the data is compressed; torch never does.
    """

    name: str
    header: int
    padding: int
    offset: int
    size: int
    stored: int
    crc32: int
    compressed: bool

    @property
    def alignment(self) -> int:
        """The largest power of two, up to 4096, that divides ``offset``."""
        return min(self.offset & -self.offset, 4096) if self.offset else 4096


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
        size = os.fstat(file.fileno()).st_size
        try:
            entries = zipfile.ZipFile(file).infolist()
        except (zipfile.BadZipFile, ValueError, struct.error, OverflowError) as error:
            raise DamagedCheckpointError(
                f"{path}: its zip directory, at the end of the file, is missing or unreadable "
                f"({error}). The file was cut off or overwritten; use an earlier checkpoint."
            ) from None
        records = {}
        prefix = _require_checkpoint(path, [entry.filename for entry in entries])
        for entry in entries:
            record = _locate(path, file.fileno(), entry, prefix, size)
            if record.name in records:
                raise DamagedCheckpointError(
                    f"{path}: two records are called {record.name}; programs may read either. "
                    "Do not use this file."
                )
            records[record.name] = record
    return records


def open_checkpoint(path: Path) -> BinaryIO:
    """Open a file that begins as a zip archive does, or say what it is instead.

    Raises:
        MissingCheckpointError, NotACheckpointError, UnsupportedCheckpointError: see `read_records`.
    """
    if path.is_dir():
        raise NotACheckpointError(f"{path} is a folder; name a file in it.")
    try:
        file = open(path, "rb")  # noqa: SIM115 - handed to the caller
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
    """Return the prefix of all records, with its slash."""
    prefix = next((name[: -len("data.pkl")] for name in names if name.endswith("/data.pkl")), "")
    if prefix + "constants.pkl" in names or prefix + "code/" in names:
        raise UnsupportedCheckpointError(
            f"{path} is a TorchScript archive, a program and not a checkpoint. "
            "Open it with course_utils.torchscript.load_script."
        )
    if any(name.endswith(("archive_format", "serialized_exported_program.json")) for name in names):
        raise UnsupportedCheckpointError(
            f"{path} is an exported program (.pt2). Open it with torch.export.load."
        )
    if not prefix:
        raise NotACheckpointError(
            f"{path} is a zip file without data.pkl, so torch.save did not write it."
        )
    return prefix


def _locate(path: Path, fd: int, entry: zipfile.ZipInfo, prefix: str, file_size: int) -> Record:
    name = entry.filename
    header = os.pread(fd, LOCAL_HEADER.size, entry.header_offset)
    if len(header) < LOCAL_HEADER.size or not header.startswith(ZIP):
        raise DamagedCheckpointError(
            f"{path}: the header of record {name} is unreadable. Use an earlier checkpoint."
        )
    _, name_length, extra_length = LOCAL_HEADER.unpack(header)
    padding = entry.header_offset + LOCAL_HEADER.size + name_length
    offset = padding + extra_length
    if offset + entry.compress_size > file_size:
        raise DamagedCheckpointError(
            f"{path}: record {name} should end at byte {offset + entry.compress_size:,}, "
            f"but the file ends at {file_size:,}. Use an earlier checkpoint."
        )
    return Record(
        name=name.removeprefix(prefix),
        header=entry.header_offset,
        padding=padding,
        offset=offset,
        size=entry.file_size,
        stored=entry.compress_size,
        crc32=entry.CRC,
        compressed=entry.compress_type != zipfile.ZIP_STORED,
    )

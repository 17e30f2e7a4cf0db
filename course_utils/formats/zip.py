"""The directory of a zip file, read so strictly that every program sees the same records.

Zip files can be written so that one program reads one thing and another something else: records
that overlap or share a name, a second directory, headers that disagree. ``torch.load`` reads with
the C library miniz, other tools with Python's ``zipfile``; what the two could read differently is
refused here. The format is in PKWARE's APPNOTE.TXT, section 4.3.
"""

import struct
import zipfile
from collections.abc import Callable
from itertools import pairwise
from typing import Any, BinaryIO, NamedTuple

ZIP = b"PK\x03\x04"
LOCAL_HEADER = struct.Struct("<4s2xHH4xIIIHH")  # flags, method, CRC, sizes, lengths of name, extra
END = struct.Struct("<4s2x2xHHIIH")  # entries here and in all, bytes and start of the directory
END64_LOCATOR = struct.Struct("<4sIQI")
END64 = struct.Struct("<4sQ2x2xIIQQQQ")
FOLDER = 0x10  # MS-DOS attribute
SIZES_FOLLOW = 0x08  # flag: the header says 0 for the sizes, which follow the data


class MalformedZipError(ValueError):
    """The directory contradicts itself or the file, or could be read in two ways."""


class Record(NamedTuple):
    """One record of the archive.

    Attributes:
        name: for example ``model/data/0``; in a checkpoint, without the prefix: ``data/0``.
        header: byte position of its local zip header.
        padding: byte position of the filler that aligns the data; ``offset`` if there is none.
        offset: byte position of the data.
        size: bytes of data, uncompressed.
        stored: bytes it takes in the file.
        crc32: checksum of the data, as the directory says.
        compressed: whether the data is compressed; torch never does that to tensors.
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


Locate = Callable[[BinaryIO, zipfile.ZipInfo], Record]


def read_directory(file: BinaryIO, size: int, locate: Locate | None = None) -> list[Record]:
    """Return the records of a zip file in the order of its directory.

    Args:
        file: positioned anywhere.
        size: of the file, in bytes.
        locate: tells where a record's data lies; by default its local header is read for that.

    Raises:
        MalformedZipError: says what is wrong with it.
    """
    directory = _find_directory(file, size)
    try:
        entries = zipfile.ZipFile(file).infolist()
    except (zipfile.BadZipFile, ValueError, struct.error, OverflowError, NotImplementedError) as e:
        raise MalformedZipError(f"its directory is unreadable ({e})") from None
    _refuse_odd_names(entries)
    records = [(locate or _locate)(file, entry) for entry in entries]
    ordered = sorted(records, key=lambda record: record.header)
    for record, after in pairwise(ordered):
        if record.offset + record.stored > after.header:
            raise MalformedZipError(f"records {record.name} and {after.name} overlap")
    if ordered and ordered[-1].offset + ordered[-1].stored > directory:
        last = ordered[-1]
        raise MalformedZipError(
            f"record {last.name} should end at byte {last.offset + last.stored:,}, "
            f"but the records end at {directory:,}"
        )
    return records


def _find_directory(file: BinaryIO, size: int) -> int:
    """Return where the directory begins, if it is the only one and fills the file's end."""
    stop = size - END.size
    signature, _, _, length, start, comment = _unpack(END, file, stop)
    if signature != b"PK\5\6" or comment:
        raise MalformedZipError("the end of its directory is missing: it was cut off")
    signature, _, end64, _ = _unpack(END64_LOCATOR, file, stop - END64_LOCATOR.size, optional=True)
    if signature == b"PK\6\7":
        stop -= END64_LOCATOR.size + END64.size
        signature, *_, length, start = _unpack(END64, file, stop)
        if end64 != stop or signature != b"PK\6\6":
            raise MalformedZipError("it has a second directory")
    if start + length != stop:
        raise MalformedZipError("its directory is not where it says")
    return start


def _refuse_odd_names(entries: list[zipfile.ZipInfo]) -> None:
    seen = set()
    for entry in entries:
        name = entry.orig_filename
        if "\0" in name or "\\" in name or name.startswith("/") or ".." in name.split("/"):
            raise MalformedZipError(f"a record has the unsafe name {name[:100]!r}")
        if name.lower() in seen:  # miniz looks names up without regard to case
            raise MalformedZipError(
                f"two records are called {name}; programs may read either of them"
            )
        seen.add(name.lower())


def _locate(file: BinaryIO, entry: zipfile.ZipInfo) -> Record:
    if entry.file_size and (entry.external_attr & FOLDER or entry.filename.endswith("/")):
        # miniz reads nothing of it: torch would return whatever was in memory.
        raise MalformedZipError(f"record {entry.filename} is a folder, and yet has content")
    name = entry.orig_filename.encode("utf-8" if entry.flag_bits & 0x800 else "cp437", "replace")
    file.seek(entry.header_offset)
    header = file.read(LOCAL_HEADER.size + len(name))
    if not header.startswith(ZIP) or header[LOCAL_HEADER.size :] != name:
        raise MalformedZipError(f"the header of record {entry.filename} is not where it should be")
    fields = LOCAL_HEADER.unpack(header[: LOCAL_HEADER.size])
    _, flags, method, _crc, stored, size, name_length, extra_length = fields
    sizes_differ = not flags & SIZES_FOLLOW and 2**32 - 1 not in (stored, size)
    if (method, name_length) != (entry.compress_type, len(name)) or (
        sizes_differ and (stored, size) != (entry.compress_size, entry.file_size)
    ):
        raise MalformedZipError(f"record {entry.filename} is described in two ways")
    padding = entry.header_offset + LOCAL_HEADER.size + name_length
    compressed = method != zipfile.ZIP_STORED
    if not compressed and entry.compress_size != entry.file_size:
        raise MalformedZipError(f"record {entry.filename} lies about its size")
    return Record(
        name=entry.filename,
        header=entry.header_offset,
        padding=padding,
        offset=padding + extra_length,
        size=entry.file_size,
        stored=entry.compress_size,
        crc32=entry.CRC,
        compressed=compressed,
    )


def _unpack(
    layout: struct.Struct, file: BinaryIO, position: int, *, optional: bool = False
) -> tuple[Any, ...]:
    if position >= 0:
        file.seek(position)
        data = file.read(layout.size)
        if len(data) == layout.size:
            return layout.unpack(data)
    if optional:
        return layout.unpack(bytes(layout.size))
    raise MalformedZipError("it was cut off")

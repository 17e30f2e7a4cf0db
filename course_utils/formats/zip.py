"""The directory of a zip file, read so strictly that every program sees the same records.

Zip files can be written so that one program reads one thing and another something else: records
that overlap or share a name, a second directory, headers that disagree. ``torch.load`` reads with
the C library miniz, other tools with Python's ``zipfile``; what the two could read differently is
refused here. The format is in PKWARE's APPNOTE.TXT, section 4.3.
"""

import struct
from collections.abc import Callable
from itertools import pairwise
from typing import Any, NamedTuple

from course_utils.formats.source import Source
from course_utils.formats.zip_entries import FULL, STORED, Entry, MalformedZipError, entries_of

ZIP = b"PK\x03\x04"
EMPTY_ZIP = b"PK\x05\x06"
# Flags, method, CRC-32, sizes stored and real, lengths of name and extra fields.
LOCAL_HEADER = struct.Struct("<4s2xHH4xIIIHH")
# Of the directory: two disks, entries here and in all, bytes, start; length of a comment.
END = struct.Struct("<4sHHHHIIH")
END64_LOCATOR = struct.Struct("<4sIQI")  # disk, start of END64, disks
# Of the directory: bytes of this, versions, two disks, entries here and in all, bytes, start.
END64 = struct.Struct("<4sQHHIIQQQQ")
FOLDER = 0x10  # MS-DOS attribute
SIZES_FOLLOW = 0x08  # flag: the header says 0 for the sizes, which follow the data
FULL16 = 0xFFFF  # "see the zip64 field", of two bytes


class Record(NamedTuple):
    """One record of the archive.

    Attributes:
        name: for example ``model/data/0``; in a checkpoint, without the prefix: ``data/0``.
        header: byte position of its local zip header.
        padding: byte position of the filler that aligns the data; ``offset`` if there is none.
        offset: byte position of the data.
        size: bytes of data, uncompressed.
        stored: bytes it takes in the file.
        crc32: checksum of the data, as the directory says; None where there is none.
        compressed: whether the data is compressed; torch never does that to tensors.
    """

    name: str
    header: int
    padding: int
    offset: int
    size: int
    stored: int
    crc32: int | None
    compressed: bool

    @property
    def alignment(self) -> int:
        """The largest power of two, up to 4096, that divides ``offset``."""
        return min(self.offset & -self.offset, 4096) if self.offset else 4096


Locate = Callable[[Source, Entry], Record]


def read_directory(source: Source, locate: Locate | None = None) -> list[Record]:
    """Return the records of a zip file in the order of its directory.

    Args:
        source: the whole file.
        locate: tells where a record's data lies; by default its local header is read for that.

    Raises:
        MalformedZipError: says what is wrong with it.
    """
    directory, length, count = _find_directory(source)
    entries = entries_of(source.read_at(directory, length))
    if len(entries) != count:
        raise MalformedZipError(f"its directory has {len(entries):,} entries and says {count:,}")
    records = [(locate or _locate)(source, entry) for entry in entries]
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


def end_of_archive(source: Source) -> int:
    """Return where an archive ends; what follows is read by nobody.

    Raises:
        MalformedZipError: it was cut off, or what follows looks like an archive too.
    """
    end = source.read_at(max(0, source.size - END.size), END.size)
    if end.startswith(EMPTY_ZIP) and end.endswith(b"\0\0"):
        return source.size
    count = min(source.size, END.size + FULL16)  # readers look no further for it
    tail = source.read_at(source.size - count, count)
    at = tail.rfind(EMPTY_ZIP)
    if at < 0 or at + END.size > len(tail):
        raise MalformedZipError("the end of its directory is missing: it was cut off")
    if b"PK" in tail[at + END.size :]:
        raise MalformedZipError("another archive seems to follow its end")
    return source.size - count + at + END.size


def start_of_last(source: Source) -> int:
    """Return where an archive begins that ends with the file, whatever lies before it.

    Raises:
        MalformedZipError: none ends there.
    """
    if end_of_archive(source) != source.size:
        raise MalformedZipError("something follows its end")
    end = _read_end(source, source.size)
    start = end.place - end.length - end.start
    if not 0 <= start < end.place:
        raise MalformedZipError("its directory is not where it says")
    return start


class _End(NamedTuple):
    """What the end of an archive says, and where it stands itself; nothing of it is checked.

    ``place`` is where the directory must end, ``named`` where a zip64 archive says that this is.
    """

    place: int
    named: int
    disks: list[int]
    here: int
    entries: int
    length: int
    start: int


def _read_end(source: Source, stop: int) -> _End:
    place = stop - END.size
    _, *disks, here, count, length, start, _ = _unpack(END, source, place)
    locator = _unpack(END64_LOCATOR, source, place - END64_LOCATOR.size, optional=True)
    signature, _, named, total = locator
    if signature != b"PK\6\7":
        return _End(place, place, disks, here, count, length, start)
    place -= END64_LOCATOR.size + END64.size
    signature, *_, disk, first, here, count, length, start = _unpack(END64, source, place)
    if signature != b"PK\6\6":
        raise MalformedZipError("it has a second directory")
    return _End(place, named, [*disks, disk, first, total - 1], here, count, length, start)


def _find_directory(source: Source) -> tuple[int, int, int]:
    """Return start, length and entries of the only directory, which must fill the end."""
    end = _read_end(source, end_of_archive(source))
    if end.named != end.place:
        raise MalformedZipError("it has a second directory")
    if any(end.disks) or end.here != end.entries:
        raise MalformedZipError("its directory says that it is spread over several disks")
    if end.start + end.length != end.place:
        raise MalformedZipError("its directory is not where it says")
    return end.start, end.length, end.entries


def _locate(source: Source, entry: Entry) -> Record:
    if entry.size and (entry.attributes & FOLDER or entry.name.endswith("/")):
        # miniz reads nothing of it: torch would return whatever was in memory.
        raise MalformedZipError(f"record {entry.name} is a folder, and yet has content")
    length = LOCAL_HEADER.size + len(entry.raw_name)
    header = source.read_at(entry.header, length)
    if not header.startswith(ZIP) or header[LOCAL_HEADER.size :] != entry.raw_name:
        raise MalformedZipError(f"the header of record {entry.name} is not where it should be")
    _, flags, method, _crc, stored, size, name_length, extra_length = LOCAL_HEADER.unpack_from(
        header
    )
    sizes_differ = not flags & SIZES_FOLLOW and FULL not in (stored, size)
    if (method, name_length) != (entry.method, len(entry.raw_name)) or (
        sizes_differ and (stored, size) != (entry.stored, entry.size)
    ):
        raise MalformedZipError(f"record {entry.name} is described in two ways")
    padding = entry.header + length
    compressed = method != STORED
    if not compressed and entry.stored != entry.size:
        raise MalformedZipError(f"record {entry.name} lies about its size")
    return Record(
        entry.name, entry.header, padding, padding + extra_length, entry.size, entry.stored,
        entry.crc32, compressed,
    )  # fmt: skip


def _unpack(
    layout: struct.Struct, source: Source, position: int, *, optional: bool = False
) -> tuple[Any, ...]:
    data = source.read_at(position, layout.size) if position >= 0 else b""
    if len(data) == layout.size:
        return layout.unpack(data)
    if optional:
        return layout.unpack(bytes(layout.size))
    raise MalformedZipError("it was cut off")

"""The bytes of a zip archive as torch lays it out, so that torch reads ours as its own.

Every record is stored, not compressed, and its data begins at a multiple of the alignment:
the gap is an extra field called ``FB``. A data descriptor follows each record that is not
empty. Sizes and positions that need more than 32 bits go to zip64 fields.

Source: PKWARE's APPNOTE.TXT 6.3.10, and what torch 2.14 writes (caffe2/serialize and miniz).
Unlike torch we write the CRC-32 and the sizes into the local headers too.
"""

import struct

UTF8, DESCRIPTOR = 0x800, 0x008  # general purpose flags: name is UTF-8; a descriptor follows
LIMIT = 0xFFFFFFFF  # this much and more is said in zip64 fields
CRC_POSITION = 14  # of the CRC-32 in a local header

_LOCAL = struct.Struct("<4s5H3I2H")
_CENTRAL = struct.Struct("<4s6H3I5H2I")
_END64 = struct.Struct("<4sQ2H2I4Q")
_LOCATOR = struct.Struct("<4sIQI")
_END = struct.Struct("<4s4H2IH")


class Entry:
    """One record's place in the archive.

    Attributes:
        name: with the archive's prefix.
        header: byte position of its local header.
        size: bytes of data.
        crc32: of the data.
    """

    __slots__ = ("crc32", "header", "name", "size")

    def __init__(self, name: bytes, header: int, size: int, crc32: int = 0) -> None:
        self.name, self.header, self.size, self.crc32 = name, header, size, crc32

    @property
    def large(self) -> bool:
        """Whether its size or position needs zip64 fields."""
        return self.size >= LIMIT or self.header >= LIMIT


def local_header(entry: Entry, alignment: int) -> bytes:
    """Return the header before the data, padded so that the data is aligned."""
    extra = _zip64_field(entry)
    unpadded = entry.header + _LOCAL.size + len(entry.name) + len(extra) + 4
    padding = -unpadded % alignment
    extra += struct.pack("<2sH", b"FB", padding) + b"Z" * padding
    size = min(entry.size, LIMIT)
    fields = (0, _flags(entry), 0, 0, 0, entry.crc32, size, size, len(entry.name), len(extra))
    return _LOCAL.pack(b"PK\x03\x04", *fields) + entry.name + extra


def descriptor(entry: Entry) -> bytes:
    """Return what follows the data: the CRC-32 and the sizes once more."""
    if not entry.size:
        return b""
    form = "<4sIQQ" if entry.large else "<4sIII"
    return struct.pack(form, b"PK\x07\x08", entry.crc32, entry.size, entry.size)


def directory(entries: list[Entry], start: int) -> bytes:
    """Return the end of the archive: the central directory, which begins at ``start``."""
    records = b"".join(map(_central_header, entries))
    end = start + len(records)
    count = len(entries)
    end64 = _END64.pack(
        b"PK\x06\x06", _END64.size - 12, 0x031E, 45, 0, 0, count, count, len(records), start
    )
    locator = _LOCATOR.pack(b"PK\x06\x07", 0, end, 1)
    short_count, short_size = min(count, 0xFFFF), min(len(records), LIMIT)
    last = _END.pack(
        b"PK\x05\x06", 0, 0, short_count, short_count, short_size, min(start, LIMIT), 0
    )
    return records + end64 + locator + last


def _central_header(entry: Entry) -> bytes:
    extra = _zip64_field(entry)
    size = min(entry.size, LIMIT)
    numbers = (0, 0, _flags(entry), 0, 0, 0, entry.crc32, size, size)
    lengths = (len(entry.name), len(extra), 0, 0, 0, 0, min(entry.header, LIMIT))
    return _CENTRAL.pack(b"PK\x01\x02", *numbers, *lengths) + entry.name + extra


def _flags(entry: Entry) -> int:
    return UTF8 | DESCRIPTOR if entry.size else UTF8


def _zip64_field(entry: Entry) -> bytes:
    values = [entry.size] * 2 if entry.size >= LIMIT else []
    if entry.header >= LIMIT:
        values.append(entry.header)
    return struct.pack(f"<2H{len(values)}Q", 1, 8 * len(values), *values) if values else b""

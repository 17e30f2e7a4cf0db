"""Finds the records of an archive whose directory is gone, by what stands around each of them.

A record is found if its bytes have the CRC-32 that was written beside them: in its local header,
or in the descriptor behind it. The format is in PKWARE's APPNOTE.TXT, section 4.3.
"""

import struct
from collections.abc import Iterator

from course_utils.formats.checksum import crc32
from course_utils.formats.source import Source
from course_utils.formats.zip import LOCAL_HEADER, ZIP, Record
from course_utils.formats.zip_entries import FULL, STORED

BLOCK = 4 << 20  # bytes in memory at a time
DESCRIPTOR = b"PK\x07\x08"
_SIZES = (struct.Struct("<4xIII"), struct.Struct("<4xIQQ"))  # of small and of large records
_ENDS = (ZIP, b"PK\x01\x02")  # what can follow a record without content


def find_records(source: Source) -> Iterator[Record]:
    """Yield every record that is proved, by its full name, in the order of the file."""
    position = 0
    while (header := _find(source, ZIP, position)) is not None:
        record = _read(source, header)
        if record is None:
            position = header + 1
        else:
            yield record
            position = record.offset + record.size


def _read(source: Source, header: int) -> Record | None:
    """Return the record with this local header, if its bytes are proved."""
    fields = source.read_at(header, LOCAL_HEADER.size)
    if len(fields) < LOCAL_HEADER.size:
        return None
    _, _, method, checksum, stored, size, name_length, extra = LOCAL_HEADER.unpack(fields)
    padding = header + LOCAL_HEADER.size + name_length
    name = source.read_at(header + LOCAL_HEADER.size, name_length)
    offset = padding + extra
    if method != STORED or not name or offset > source.size:
        return None
    if 0 < size == stored < FULL:
        found = (size, checksum) if crc_of(source, offset, size) == checksum else None
    else:
        found = _described(source, offset)
    if found is None:
        return None
    text = name.decode("utf-8", "replace")
    return Record(text, header, padding, offset, found[0], found[0], found[1], False)


def _described(source: Source, offset: int) -> tuple[int, int] | None:
    """Return size and CRC-32 of data that is followed by a descriptor of just these."""
    if source.read_at(offset, 4) in _ENDS:
        return 0, 0
    position = offset
    while (end := _find(source, DESCRIPTOR, position)) is not None:
        for form in _SIZES:
            fields = source.read_at(end, form.size)
            if len(fields) == form.size:
                checksum, stored, size = form.unpack(fields)
                if stored == size == end - offset:
                    same = crc_of(source, offset, size) == checksum
                    return (size, checksum) if same else None
        position = end + 1
    return None


def crc_of(source: Source, start: int, size: int) -> int | None:
    """Return the CRC-32 of a stretch of bytes; None if some are missing or cannot be read."""
    total = 0
    try:
        for position in range(start, start + size, BLOCK):
            count = min(BLOCK, start + size - position)
            data = source.read_at(position, count)
            if len(data) < count:
                return None
            total = crc32(data, total)
    except OSError:
        return None
    return total


def _find(source: Source, mark: bytes, position: int) -> int | None:
    """Return where these four bytes stand next."""
    for start in range(position, source.size, BLOCK):
        try:
            found = source.read_at(start, BLOCK + len(mark) - 1).find(mark)
        except OSError:
            continue  # the disk cannot read this block
        if found >= 0:
            return start + found
    return None

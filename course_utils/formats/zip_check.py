"""Verify the bytes of an archive that no CRC-32 covers: headers, padding and directory."""

import os
import zipfile
from typing import BinaryIO

from course_utils.errors import DamagedRecordError
from course_utils.formats.zip import LOCAL_HEADER, Record
from course_utils.formats.zip_layout import CRC_POSITION, Entry, descriptor, directory, local_header

ALIGNMENT = 64  # of the data in the file, in bytes: torch's default
SIZES_END = CRC_POSITION + 12  # torch leaves CRC-32 and sizes zero before the data


def predict(_file: BinaryIO, entry: zipfile.ZipInfo) -> Record:
    """Locate a record where torch would have put it, without reading its local header.

    Reading the headers of a file that is not in memory, here and there, would keep the system
    from reading the data ahead: a cold load takes half as long again. `check_bookkeeping` tells
    afterwards whether the prediction was right.
    """
    name = entry.orig_filename.encode()
    place = Entry(name, entry.header_offset, entry.file_size, entry.CRC)
    padding = entry.header_offset + LOCAL_HEADER.size + len(name)
    return Record(
        name=entry.filename,
        header=entry.header_offset,
        padding=padding,
        offset=entry.header_offset + len(local_header(place, ALIGNMENT)),
        size=entry.file_size,
        stored=entry.compress_size,
        crc32=entry.CRC,
        compressed=entry.compress_type != zipfile.ZIP_STORED,
    )


def check_bookkeeping(file: int, records: list[Record], alignment: int = ALIGNMENT) -> bool:
    """Compare all that is not data with what torch writes around these records.

    Returns:
        False for a file laid out by another program: hardly a record looks like torch's. Then
        the strict reading of its directory must do.

    Args:
        file: descriptor of the open file.
        records: all of them, in the directory's order, as ``read_records`` gives them.
        alignment: of the records' data, in bytes.

    Raises:
        DamagedRecordError: the file follows torch's layout, but for some bytes.
    """
    prefix = _prefix(file, records[0])
    entries = [Entry(prefix + r.name.encode(), r.header, r.size, r.crc32) for r in records]
    changed, end = [], 0
    for record, entry in zip(records, entries, strict=True):
        after = descriptor(entry)
        if not (
            record.header == end
            and _is_header(os.pread(file, record.offset - end, end), entry, alignment)
            and os.pread(file, len(after), record.offset + record.size) == after
        ):
            changed.append(record)
        end = record.offset + record.size + len(after)
    if len(changed) > len(records) // 2:
        return False
    if changed:
        raise DamagedRecordError(changed[0].name, "its header has changed")
    expected = directory(entries, end)
    if os.pread(file, len(expected) + 1, end) != expected:
        raise DamagedRecordError(None, "it does not fit the records")
    return True


def _prefix(file: int, record: Record) -> bytes:
    """Return what the names of all records begin with, from the first one's header."""
    start = record.header + LOCAL_HEADER.size
    return os.pread(file, record.padding - start - len(record.name.encode()), start)


def _is_header(found: bytes, entry: Entry, alignment: int) -> bool:
    ours = local_header(entry, alignment)
    return found in (ours, ours[:CRC_POSITION] + bytes(12) + ours[SIZES_END:])

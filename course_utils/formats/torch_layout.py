"""How torch lays out a checkpoint: where a record should lie, and what stands around it.

No CRC-32 covers headers, padding and directory: they are compared with what torch writes.
"""

from course_utils.errors import DamagedRecordError
from course_utils.formats.source import Source
from course_utils.formats.zip import LOCAL_HEADER, Record
from course_utils.formats.zip_entries import STORED
from course_utils.formats.zip_entries import Entry as DirectoryEntry
from course_utils.formats.zip_layout import (
    CRC_POSITION,
    LIMIT,
    Entry,
    descriptor,
    directory,
    local_header,
)

ALIGNMENT = 64  # of the data in the file, in bytes: torch's default
LARGEST_ALIGNMENT = 1 << 16  # a zip file has no room for more padding
SIZES_END = CRC_POSITION + 12  # torch leaves CRC-32 and sizes zero before the data


def predict(_source: Source, entry: DirectoryEntry) -> Record:
    """Locate a record where torch would have put it, without reading its local header.

    Reading the headers of a file that is not in memory, here and there, would keep the system
    from reading the data ahead: a cold load takes half as long again. `check_bookkeeping` tells
    afterwards whether the prediction was right.
    """
    place = Entry(entry.raw_name, entry.header, entry.size, entry.crc32)
    padding = entry.header + LOCAL_HEADER.size + len(entry.raw_name)
    return Record(
        name=entry.name,
        header=entry.header,
        padding=padding,
        offset=entry.header + len(local_header(place, ALIGNMENT)),
        size=entry.size,
        stored=entry.stored,
        crc32=entry.crc32,
        compressed=entry.method != STORED,
    )


def follows_layout(source: Source, records: list[Record], alignment: bytes | None) -> bool:
    """Do what `check_bookkeeping` does; also False where the alignment is none that torch writes.

    Args:
        source, records: as for `check_bookkeeping`.
        alignment: what the record ``.storage_alignment`` holds, None without one.
    """
    if alignment is None:
        return check_bookkeeping(source, records)
    known = alignment.isdigit() and 1 <= int(alignment) <= LARGEST_ALIGNMENT
    return known and check_bookkeeping(source, records, int(alignment))


def check_bookkeeping(source: Source, records: list[Record], alignment: int = ALIGNMENT) -> bool:
    """Compare all that is not data with what torch writes around these records.

    Returns:
        False for a file laid out by another program: hardly a record looks like torch's. Then
        the strict reading of its directory must do.

    Args:
        source: the whole file.
        records: all of them, in the directory's order, as ``read_records`` gives them.
        alignment: of the records' data, in bytes.

    Raises:
        DamagedRecordError: the file follows torch's layout, but for some bytes.
    """
    prefix = _prefix(source, records[0])
    entries = [Entry(prefix + r.name.encode(), r.header, r.size, r.crc32 or 0) for r in records]
    changed, end = [], 0
    for record, entry in zip(records, entries, strict=True):
        after = descriptor(entry)
        if not (
            record.header == end
            and _is_header(source.read_at(end, record.offset - end), entry, alignment)
            and source.read_at(record.offset + record.size, len(after)) == after
        ):
            changed.append(record)
        end = record.offset + record.size + len(after)
    if len(changed) > len(records) // 2:
        return False
    if changed:
        raise DamagedRecordError(changed[0].name, "its header has changed")
    expected = directory(entries, end)
    if source.read_at(end, len(expected)) != expected:
        raise DamagedRecordError(None, "it does not fit the records")
    return True


def _prefix(source: Source, record: Record) -> bytes:
    """Return what the names of all records begin with, from the first one's header."""
    start = record.header + LOCAL_HEADER.size
    return source.read_at(start, record.padding - start - len(record.name.encode()))


def _is_header(found: bytes, entry: Entry, alignment: int) -> bool:
    ours = local_header(entry, alignment)
    torchs = ours[:CRC_POSITION] + bytes(12) + ours[SIZES_END:]
    if entry.size >= LIMIT:  # torch's zip64 field says 0 for the second size
        second = LOCAL_HEADER.size + len(entry.name) + 4 + 8
        torchs = torchs[:second] + bytes(8) + torchs[second + 8 :]
    return found in (ours, torchs)

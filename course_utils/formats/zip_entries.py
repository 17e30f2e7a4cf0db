"""What the directory of a zip file says about each record; names that could mislead are refused."""

import struct
from collections.abc import Iterator
from typing import NamedTuple

# Version needed, flags, method, CRC-32, sizes, lengths of name, extra and comment, disk,
# attributes, position of the local header.
CENTRAL_HEADER = struct.Struct("<4s2xHHH4xIIIHHHHHII")
UTF8 = 0x800  # flag: the name is UTF-8, else cp437
UNREADABLE = 0x2061  # flags: encrypted, patched, strongly encrypted, masked
STORED, DEFLATED = 0, 8
NEWEST = 63  # version needed to extract: of the format as it is known here
FULL = 0xFFFFFFFF  # "see the zip64 field"


class MalformedZipError(ValueError):
    """The directory contradicts itself or the file, or could be read in two ways."""


class AmbiguousZipError(MalformedZipError):
    """Its names are such that programs read different records: damaged, or made so."""


class ForeignZipError(MalformedZipError):
    """It is a zip file as torch never writes or reads one: encrypted, say."""


class Entry(NamedTuple):
    """What the directory says about a record."""

    name: str
    raw_name: bytes
    flags: int
    method: int
    crc32: int
    stored: int
    size: int
    attributes: int
    header: int
    foreign: str | None  # why torch would not read such a record, or not be known to


def entries_of(directory: bytes) -> list[Entry]:
    """Return what a directory says about its records, in its order.

    Raises:
        MalformedZipError: says what is wrong with it.
    """
    entries = list(_entries(directory))
    _refuse_foreign(entries)
    _refuse_odd_names(entries)
    return entries


def _entries(directory: bytes) -> Iterator[Entry]:
    position = 0
    while position < len(directory):
        try:
            fields = CENTRAL_HEADER.unpack_from(directory, position)
        except struct.error:
            raise MalformedZipError("its directory is cut off") from None
        signature, needed, flags, method, crc32, stored, size, *lengths, disk, _ = fields[:12]
        attributes, header = fields[12:]
        if signature != b"PK\1\2":
            raise MalformedZipError("its directory is unreadable")
        foreign = None
        if flags & UNREADABLE:
            foreign = "a record is encrypted, or a patch of another file"
        elif needed > NEWEST or disk:
            foreign = "its directory needs a newer reader, or another disk"
        elif method not in (STORED, DEFLATED):
            foreign = f"its records are compressed by method {method}"
        start = position + CENTRAL_HEADER.size
        name_end, extra_end = start + lengths[0], start + lengths[0] + lengths[1]
        position = extra_end + lengths[2]
        if position > len(directory):
            raise MalformedZipError("its directory is cut off")
        raw_name = directory[start:name_end]
        if FULL in (stored, size, header):
            extra = directory[name_end:extra_end]
            size, stored, header = _large(extra, size, stored, header)
        yield Entry(
            _text(raw_name, flags), raw_name, flags, method, crc32, stored, size, attributes,
            header, foreign,
        )  # fmt: skip


def _large(extra: bytes, size: int, stored: int, header: int) -> tuple[int, int, int]:
    """Take the numbers that 32 bits cannot hold from the zip64 field."""
    while len(extra) >= 4:
        kind, length = struct.unpack_from("<HH", extra)
        if kind == 1 and length % 8 == 0 and len(extra) >= 4 + length:
            values = iter(struct.unpack_from(f"<{length // 8}Q", extra, 4))
            try:
                numbers = [next(values) if n == FULL else n for n in (size, stored, header)]
            except StopIteration:
                break
            return numbers[0], numbers[1], numbers[2]
        extra = extra[4 + length :]
    raise MalformedZipError("its directory lacks the size of a large record")


def _text(raw: bytes, flags: int) -> str:
    try:
        return raw.decode("utf-8" if flags & UTF8 else "cp437")
    except UnicodeDecodeError:
        raise MalformedZipError(f"a record has the unreadable name {raw[:100]!r}") from None


def _refuse_foreign(entries: list[Entry]) -> None:
    foreign = next((entry.foreign for entry in entries if entry.foreign), None)
    if foreign is None:
        return
    for entry in entries:  # torch reads each record by itself
        plain = not entry.flags & UNREADABLE and entry.method in (STORED, DEFLATED)
        if plain and entry.name.endswith("/data.pkl"):
            raise MalformedZipError(f"{foreign}, and yet torch would read {entry.name}")
    raise ForeignZipError(foreign)


def _refuse_odd_names(entries: list[Entry]) -> None:
    seen = set()
    folder = entries[0].name.partition("/")[0] if entries else ""  # where torch looks
    sought = {f"{folder}/{name}".lower(): f"{folder}/{name}" for name in ("data.pkl", "byteorder")}
    for entry in entries:
        name = entry.name
        if (
            "\0" in name
            or "\\" in name
            or name.startswith("/")
            or (".." in name and ".." in name.split("/"))
        ):
            raise AmbiguousZipError(f"a record has the unsafe name {name[:100]!r}")
        folded = name.lower()
        if sought.get(folded, name) != name:
            raise AmbiguousZipError(f"torch would take record {name} for {sought[folded]}")
        if folded in seen:  # miniz looks names up without regard to case
            raise AmbiguousZipError(
                f"two records are called {name}; programs may read either of them"
            )
        seen.add(folded)

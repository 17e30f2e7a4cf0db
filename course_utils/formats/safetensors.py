"""The header of a safetensors file: all there is to know before its tensors are read.

The format: 8 bytes, the header's length as a little-endian integer; the header, a JSON object from
names to dtype, shape and position; then the tensors' bytes, without gaps.
https://huggingface.co/docs/safetensors/main/en/index#format
"""

import json
from math import prod
from typing import Any, NamedTuple

from course_utils.formats.dtypes import ITEMSIZE, SAFETENSORS
from course_utils.formats.source import Source

LONGEST = 100_000_000  # bytes of header that safetensors itself accepts


class MalformedHeaderError(ValueError):
    """The bytes are not a safetensors file, or a damaged one."""


class UnknownDtypeError(MalformedHeaderError):
    """A sound header names a dtype that is not known here."""


class Entry(NamedTuple):
    """One tensor: torch's name of its dtype, its shape, and where its bytes lie in the file."""

    dtype: str
    shape: tuple[int, ...]
    start: int
    stop: int


class Header(NamedTuple):
    """A whole header: tensors by name, in the order of their bytes, and the metadata."""

    tensors: dict[str, Entry]
    metadata: dict[str, str]


def is_safetensors(source: Source) -> bool:
    """Whether a file begins as a safetensors file does: a length that fits, then a JSON object."""
    start = source.read_at(0, 64)
    length = int.from_bytes(start[:8], "little")
    begins = start[8 : 8 + length].lstrip(b" \t\r\n").startswith(b"{")
    return begins and 2 <= length <= source.size - 8


def read_header(source: Source) -> Header:
    """Read and check the header of a safetensors file.

    Raises:
        MalformedHeaderError: says what is wrong with it.
        UnknownDtypeError: nothing is wrong, but a dtype is newer than this reader.
    """
    length = int.from_bytes(source.read_at(0, 8), "little")
    if source.size < 8 or not 2 <= length <= min(source.size - 8, LONGEST):
        raise MalformedHeaderError("its first 8 bytes are not the length of a header")
    data, metadata = 8 + length, {}
    entries: dict[str, Entry] = {}
    for name, fields in _parse(source.read_at(8, length)):
        if name == "__metadata__":
            metadata = _metadata(fields)
        else:
            entries[name] = _entry(name, fields, data)
    places = [entry[2:] for entry in entries.values()]
    if places != sorted(places):
        entries = dict(sorted(entries.items(), key=lambda item: item[1][2:]))
    _refuse_gaps(entries, data, source.size)
    return Header(entries, metadata)


def _parse(text: bytes) -> list[tuple[str, Any]]:
    """Return the members of the JSON object; in it, objects are tuples of their members.

    So names that stand twice are seen, and nothing of ours runs for each of 100,000 tensors.
    """
    try:
        found = json.loads(text.decode(), object_pairs_hook=tuple)
    except (ValueError, RecursionError) as error:
        raise MalformedHeaderError(f"its header is not JSON: {error}") from None
    if not isinstance(found, tuple):
        raise MalformedHeaderError("its header is not a JSON object")
    if len(dict(found)) != len(found):
        raise MalformedHeaderError("its header names something twice")
    return list(found)


def _metadata(members: Any) -> dict[str, str]:
    if members is None:
        return {}
    if not isinstance(members, tuple) or not all(isinstance(v, str) for _, v in members):
        raise MalformedHeaderError("its metadata are not strings")
    metadata = dict(members)
    if len(metadata) != len(members):
        raise MalformedHeaderError("its header names something twice")
    return metadata


def _refuse_gaps(entries: dict[str, Entry], position: int, size: int) -> None:
    for name, entry in entries.items():
        if entry.start != position:
            raise MalformedHeaderError(f"tensor {name} does not follow the one before it")
        position = entry.stop
    if position != size:
        raise MalformedHeaderError(f"its tensors end at byte {position:,}, the file at {size:,}")


def _entry(name: str, members: Any, data: int) -> Entry:
    try:
        (first, kind), (second, shape), (third, (start, stop)) = members
        if (first, second, third) != _KEYS:
            kind, shape, (start, stop) = _in_order(name, members)
        dtype = SAFETENSORS[kind]
        numbers = [*shape, start, stop]
        if {*map(type, numbers)} != {int} or min(numbers) < 0 or max(numbers) >= 2**63:
            raise MalformedHeaderError(f"tensor {name} has a size that is no size")
    except (KeyError, TypeError, ValueError) as error:
        raise _explained(name, members, error) from None
    if kind == "F4":  # counted in half bytes, in torch in pairs
        if not shape or shape[-1] % 2:
            raise MalformedHeaderError(f"tensor {name} has half a byte in a row")
        shape = [*shape[:-1], shape[-1] // 2]
    if len(shape) > 64 or prod(shape) * ITEMSIZE[dtype] != stop - start:
        raise MalformedHeaderError(f"tensor {name} has not the bytes its shape needs")
    return Entry(dtype, tuple(shape), data + start, data + stop)


_KEYS = ("dtype", "shape", "data_offsets")


def _in_order(name: str, members: Any) -> list[Any]:
    """Return the members of a tensor's object in the usual order."""
    found = dict(members)
    if len(found) != len(members):
        raise MalformedHeaderError("its header names something twice")
    return [found[key] for key in _KEYS]


def _explained(name: str, members: Any, error: Exception) -> MalformedHeaderError:
    """Tell a dtype that is newer than this reader from a header that makes no sense."""
    if isinstance(error, MalformedHeaderError):
        return error
    if isinstance(members, tuple) and all(isinstance(m, tuple) for m in members):
        kind = dict(members).get("dtype")
        if isinstance(kind, str) and kind not in SAFETENSORS:
            return UnknownDtypeError(f"tensor {name} is of dtype {kind[:20]!r}, not known here")
    return MalformedHeaderError(f"tensor {name} is not described as it must be")

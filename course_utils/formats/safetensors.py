"""The header of a safetensors file: all there is to know before its tensors are read.

The format: 8 bytes, the header's length as a little-endian integer; the header, a JSON object from
names to dtype, shape and position; then the tensors' bytes, without gaps.
https://huggingface.co/docs/safetensors/main/en/index#format
"""

import json
import re
from functools import lru_cache
from math import prod
from typing import Any, NamedTuple

from course_utils.formats.dtypes import ITEMSIZE, SAFETENSORS
from course_utils.formats.source import Source

LONGEST = 100_000_000  # bytes of header that safetensors itself accepts


class MalformedHeaderError(ValueError):
    """The bytes are not a safetensors file, or a damaged one."""


class UnknownDtypeError(MalformedHeaderError):
    """A sound header names a dtype that is not known here."""


class AmbiguousHeaderError(MalformedHeaderError):
    """A name stands twice: the format forbids it, and readers differ in which one they take."""


TWICE = (
    "its header names something twice, which the format forbids: readers differ in what they take"
)


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
    """Whether a file begins as a safetensors file does: a length, then a JSON object.

    A length beyond the file's end is one if an object of names follows: a file cut off early.
    """
    start = source.read_at(0, 64)
    length = int.from_bytes(start[:8], "little")
    if length > source.size - 8:
        return length <= LONGEST and start[8:10] == b'{"'
    return length >= 2 and start[8 : 8 + length].lstrip(b" \t\r\n").startswith(b"{")


def read_header(source: Source) -> Header:
    """Read and check the header of a safetensors file.

    Raises:
        MalformedHeaderError: says what is wrong with it.
        UnknownDtypeError: nothing is wrong, but a dtype is newer than this reader.
    """
    length = int.from_bytes(source.read_at(0, 8), "little")
    if source.size < 8 or not 2 <= length <= LONGEST:
        raise MalformedHeaderError("its first 8 bytes are not the length of a header")
    if length > source.size - 8:
        raise MalformedHeaderError(f"it ends within its header, which has {length} bytes")
    data, text = 8 + length, source.read_at(8, length)
    entries, metadata = _usual(text, data) or _any(text, data)
    places = [entry[2:] for entry in entries.values()]
    if places != sorted(places):
        entries = dict(sorted(entries.items(), key=lambda item: item[1][2:]))
    _refuse_gaps(entries, data, source.size)
    return Header(entries, metadata)


Members = tuple[dict[str, Entry], dict[str, str]]

_NUMBER = "(0|[1-9][0-9]{0,17})"
_TENSOR = re.compile(
    r'"([^"\\\x00-\x1f]*)":\{"dtype":"([A-Z0-9_]+)","shape":\[([0-9,]{0,600})\],'
    rf'"data_offsets":\[{_NUMBER},{_NUMBER}\]}}([,}}])'
)
_METADATA = '{"__metadata__":'
_JSON = json.JSONDecoder(object_pairs_hook=tuple)


def _usual(text: bytes, data: int) -> Members | None:
    """Read a header that is spelled as safetensors spells it, in half the time.

    Returns:
        None for any other spelling, and for whatever is wrong: `_any` reads that, and says so.
    """
    entries, metadata, position, last = dict[str, Entry](), dict[str, str](), 1, ","
    try:
        header = text.decode()
        if header.startswith(_METADATA):
            fields, position = _JSON.raw_decode(header, len(_METADATA))
            metadata, last, position = _metadata(fields), header[position], position + 1
        while last == "," and (found := _TENSOR.match(header, position)):
            name, kind, shape, start, stop, last = found.groups()
            dtype, sizes, nbytes = _layout_of(kind, shape)
            if name in entries or name == "__metadata__" or int(stop) - int(start) != nbytes:
                return None
            entries[name] = Entry(dtype, sizes, data + int(start), data + int(stop))
            position = found.end()
    except (ValueError, KeyError, IndexError, RecursionError):
        return None
    whole = header[0] == "{" and last == "}" and not header[position:].strip(" \t\r\n")
    return (entries, metadata) if whole else None


@lru_cache(1000)
def _layout_of(kind: str, shape: str) -> tuple[str, tuple[int, ...], int]:
    sizes = [int(number) for number in shape.split(",")] if shape else []
    if ",".join(map(str, sizes)) != shape or max(sizes, default=0) >= 2**63:
        raise ValueError("not spelled as usual")
    return _layout("", kind, sizes)


def _any(text: bytes, data: int) -> Members:
    """Read a header spelled in any way that JSON allows."""
    entries, metadata = dict[str, Entry](), dict[str, str]()
    for name, fields in _parse(text):
        if name == "__metadata__":
            metadata = _metadata(fields)
        else:
            entries[name] = _entry(name, fields, data)
    return entries, metadata


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
        raise AmbiguousHeaderError(TWICE)
    return list(found)


def _metadata(members: Any) -> dict[str, str]:
    if members is None:
        return {}
    if not isinstance(members, tuple) or not all(isinstance(v, str) for _, v in members):
        raise MalformedHeaderError("its metadata are not strings")
    metadata = dict(members)
    if len(metadata) != len(members):
        raise AmbiguousHeaderError(TWICE)
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
        (first, kind), (second, shape), (third, place) = members
        if (first, second, third) != _KEYS:  # MLX sorts them
            kind, shape, place = _in_order(name, members)
        start, stop = place
        if kind not in SAFETENSORS:
            raise KeyError(kind)
        numbers = [*shape, start, stop]
        if {*map(type, numbers)} != {int} or min(numbers) < 0 or max(numbers) >= 2**63:
            raise MalformedHeaderError(f"tensor {name} has a size that is no size")
    except (KeyError, TypeError, ValueError) as error:
        raise _explained(name, members, error) from None
    dtype, sizes, nbytes = _layout(name, kind, shape)
    if nbytes != stop - start:
        raise MalformedHeaderError(f"tensor {name} has not the bytes its shape needs")
    return Entry(dtype, sizes, data + start, data + stop)


def _layout(name: str, kind: str, shape: list[int]) -> tuple[str, tuple[int, ...], int]:
    """Return torch's dtype and shape of a tensor, and its bytes."""
    if len(shape) > 64:
        raise MalformedHeaderError(f"tensor {name} has {len(shape)} dimensions")
    if kind == "F4":  # counted in half bytes, in torch in pairs
        if not shape or shape[-1] % 2:
            raise MalformedHeaderError(f"tensor {name} has half a byte in a row")
        shape = [*shape[:-1], shape[-1] // 2]
    dtype = SAFETENSORS[kind]
    return dtype, tuple(shape), prod(shape) * ITEMSIZE[dtype]


_KEYS = ("dtype", "shape", "data_offsets")


def _in_order(name: str, members: Any) -> list[Any]:
    """Return the members of a tensor's object in the usual order."""
    found = dict(members)
    if len(found) != len(members):
        raise AmbiguousHeaderError(TWICE)
    return [found[key] for key in _KEYS]


def _explained(name: str, members: Any, error: Exception) -> MalformedHeaderError:
    """Tell a header that is newer than this reader from one that makes no sense."""
    if isinstance(error, MalformedHeaderError):
        return error
    if isinstance(members, tuple) and all(isinstance(m, tuple) for m in members):
        kind = dict(members).get("dtype")
        if isinstance(kind, str) and kind not in SAFETENSORS:
            return UnknownDtypeError(f"tensor {name} is of dtype {kind[:20]!r}, not known here")
        if more := dict(members).keys() - {*_KEYS}:
            shown = ", ".join(sorted(more))[:60]
            return UnknownDtypeError(f"tensor {name} is described with {shown}, not known here")
    return MalformedHeaderError(f"tensor {name} is not described as it must be")

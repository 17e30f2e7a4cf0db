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
    found = _parse(source.read_at(8, length))
    metadata = found.pop("__metadata__", None) or {}
    if not isinstance(metadata, dict) or not all(isinstance(v, str) for v in metadata.values()):
        raise MalformedHeaderError("its metadata are not strings")
    data = 8 + length
    entries = [(name, _entry(name, fields, data)) for name, fields in found.items()]
    entries.sort(key=lambda item: (item[1].start, item[1].stop))
    position = data
    for name, entry in entries:
        if entry.start != position:
            raise MalformedHeaderError(f"tensor {name} does not follow the one before it")
        position = entry.stop
    if position != source.size:
        raise MalformedHeaderError(
            f"its tensors end at byte {position:,}, the file at {source.size:,}"
        )
    return Header(dict(entries), metadata)


def _parse(text: bytes) -> dict[str, Any]:
    """Return the JSON object; names that stand twice in it are refused, inner ones too."""
    try:
        found = json.loads(text.decode(), object_pairs_hook=_without_duplicates)
    except MalformedHeaderError:
        raise
    except (ValueError, RecursionError) as error:
        raise MalformedHeaderError(f"its header is not JSON: {error}") from None
    if not isinstance(found, dict):
        raise MalformedHeaderError("its header is not a JSON object")
    return found


def _entry(name: str, fields: Any, data: int) -> Entry:
    try:
        kind, shape = fields["dtype"], tuple(fields["shape"])
        start, stop = fields["data_offsets"]
        numbers = (*shape, start, stop)
        # One look at the types, one at the smallest and largest: a header may have 100,000 tensors.
        if {*map(type, numbers)} != {int} or min(numbers) < 0 or max(numbers) >= 2**63:
            raise MalformedHeaderError(f"tensor {name} has a size that is no size")
        dtype = SAFETENSORS[kind]
    except (KeyError, TypeError, ValueError) as error:
        raise _named(name, fields, error) from None
    if kind == "F4":  # counted in half bytes, in torch in pairs
        if not shape or shape[-1] % 2:
            raise MalformedHeaderError(f"tensor {name} has half a byte in a row")
        shape = (*shape[:-1], shape[-1] // 2)
    if len(shape) > 64 or prod(shape) * ITEMSIZE[dtype] != stop - start:
        raise MalformedHeaderError(f"tensor {name} has not the bytes its shape needs")
    return Entry(dtype, shape, data + start, data + stop)


def _named(name: str, fields: Any, error: Exception) -> MalformedHeaderError:
    if isinstance(error, MalformedHeaderError):
        return error
    if isinstance(fields, dict) and isinstance(fields.get("dtype"), str):
        kind = fields["dtype"]
        if kind not in SAFETENSORS and {"shape", "data_offsets"} <= fields.keys():
            return UnknownDtypeError(f"tensor {name} is of dtype {kind[:20]!r}, not known here")
    return MalformedHeaderError(f"tensor {name} is not described as it must be")


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise MalformedHeaderError("its header names something twice")
    return found

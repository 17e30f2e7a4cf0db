"""The header of a safetensors file: all there is to know before its tensors are read.

The format: 8 bytes, the header's length as a little-endian integer; the header, a JSON object from
names to dtype, shape and position; then the tensors' bytes, without gaps.
https://huggingface.co/docs/safetensors/main/en/index#format
"""

import json
from math import prod
from typing import Any, BinaryIO, NamedTuple

import torch

LONGEST = 100_000_000  # bytes of header that safetensors itself accepts
DTYPES = {
    "F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16,
    "I64": torch.int64, "I32": torch.int32, "I16": torch.int16, "I8": torch.int8,
    "U64": torch.uint64, "U32": torch.uint32, "U16": torch.uint16, "U8": torch.uint8,
    "BOOL": torch.bool, "C64": torch.complex64,
    "F8_E4M3": torch.float8_e4m3fn, "F8_E5M2": torch.float8_e5m2,
}  # fmt: skip


class MalformedHeaderError(ValueError):
    """The bytes are not a safetensors file, or a damaged one."""


class Entry(NamedTuple):
    """One tensor: its dtype, shape, and where its bytes lie in the file."""

    dtype: torch.dtype
    shape: tuple[int, ...]
    start: int
    stop: int


class Header(NamedTuple):
    """A whole header: tensors by name, in the order of their bytes, and the metadata."""

    tensors: dict[str, Entry]
    metadata: dict[str, str]


def read_header(file: BinaryIO, size: int) -> Header:
    """Read and check the header of a safetensors file.

    Args:
        file: is read from its first byte.
        size: of the file, in bytes.

    Raises:
        MalformedHeaderError: says what is wrong with it.
    """
    file.seek(0)
    length = int.from_bytes(file.read(8), "little")
    if size < 8 or not 2 <= length <= min(size - 8, LONGEST):
        raise MalformedHeaderError("its first 8 bytes are not the length of a header")
    text = file.read(length)
    try:
        found = json.loads(text.decode(), object_pairs_hook=_without_duplicates)
    except MalformedHeaderError:
        raise
    except (ValueError, RecursionError) as error:
        raise MalformedHeaderError(f"its header is not JSON: {error}") from None
    if not text.startswith(b"{") or not isinstance(found, dict):
        raise MalformedHeaderError("its header is not a JSON object")
    metadata = found.pop("__metadata__", None) or {}
    if not isinstance(metadata, dict) or not all(isinstance(v, str) for v in metadata.values()):
        raise MalformedHeaderError("its metadata are not strings")
    entries = {name: _entry(name, fields, 8 + length) for name, fields in found.items()}
    tensors = dict(sorted(entries.items(), key=lambda item: item[1][2:]))
    position = 8 + length
    for name, entry in tensors.items():
        if entry.start != position:
            raise MalformedHeaderError(f"tensor {name} does not follow the one before it")
        position = entry.stop
    if position != size:
        raise MalformedHeaderError(f"its tensors end at byte {position:,}, the file at {size:,}")
    return Header(tensors, metadata)


def _entry(name: str, fields: Any, data: int) -> Entry:
    try:
        dtype, shape = DTYPES[fields["dtype"]], tuple(fields["shape"])
        start, stop = fields["data_offsets"]
    except (KeyError, TypeError, ValueError):
        raise MalformedHeaderError(f"tensor {name} is not described as it must be") from None
    numbers = (*shape, start, stop)
    if not all(type(number) is int and 0 <= number < 2**63 for number in numbers):
        raise MalformedHeaderError(f"tensor {name} has a size that is no size")
    if len(shape) > 64 or prod(shape) * dtype.itemsize != stop - start:
        raise MalformedHeaderError(f"tensor {name} has not the bytes its shape needs")
    return Entry(dtype, shape, data + start, data + stop)


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise MalformedHeaderError("its header names something twice")
    return found

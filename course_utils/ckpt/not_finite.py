"""Counts the NaN and infinite values of a tensor, with the standard library alone."""

from collections.abc import Callable, Iterator
from functools import partial
from math import prod
from typing import NamedTuple

from course_utils.formats.contents import Contents
from course_utils.formats.elements import record_of
from course_utils.formats.tensors import TensorInfo

BLOCK = 16 << 20  # bytes in memory at a time


class NotFinite(NamedTuple):
    """How many of a tensor's elements in the file are NaN, and how many infinite."""

    nan: int
    infinite: int


def not_finite(
    contents: Contents, info: TensorInfo, progress: Callable[[int], None]
) -> NotFinite | None:
    """Count a tensor's NaN and infinite values; None where its dtype has none.

    An element that the tensor shows many times, as expanded ones do, counts once.

    Args:
        contents: the open file.
        info: one of its tensors.
        progress: is told the bytes that were read since it was last called.

    Raises:
        EOFError: the file does not hold all its bytes.
    """
    if info.dtype not in _FLOATS or info.record is None or not info.span:
        return None
    find = _FLOATS[info.dtype]
    nan = infinite = 0
    for raw in _blocks(contents, info):
        progress(len(raw))
        found = find(raw, contents.byteorder)
        nan, infinite = nan + _count(found.nan), infinite + _count(found.infinite)
    if (nan or infinite) and not _shows_all(info):
        found = find(b"".join(_blocks(contents, info)), contents.byteorder)
        shown = _shown(info)
        return NotFinite(_count(found.nan & shown), _count(found.infinite & shown))
    return NotFinite(nan, infinite)


def _blocks(contents: Contents, info: TensorInfo) -> Iterator[bytes]:
    """Yield the memory from a tensor's first element to its last."""
    source = contents.content(record_of(contents, info))
    start = info.storage_offset * info.itemsize
    stop = start + info.span * info.itemsize
    for position in range(start, stop, BLOCK):
        size = min(BLOCK, stop - position)
        raw = source.read_at(position, size)
        if len(raw) < size:
            raise EOFError(f"{info.name} has fewer bytes in the file than it needs")
        yield raw


def _shows_all(info: TensorInfo) -> bool:
    """Whether each element of its memory is one of the tensor's."""
    shown = prod(n for n, step in zip(info.shape, info.stride, strict=True) if step)
    return shown == info.span


# Elements are marked in one long integer, a byte each: 255 or 0. So whole blocks are combined at
# once, as NumPy would do it, by the standard library alone.


class _Marks(NamedTuple):
    nan: int
    infinite: int


Finder = Callable[[bytes, str], _Marks]


def _count(marks: int) -> int:
    return marks.bit_count() // 8


def _shown(info: TensorInfo) -> int:
    """Mark the elements that a tensor shows of the memory it spans."""
    marks = 255
    for length, step in zip(info.shape, info.stride, strict=True):
        done = 1
        while step and done < length:  # doubling: a length may be as large as the memory
            more = min(done, length - done)
            marks |= marks << (8 * more * step)
            done += more
    return marks


def _marked(raw: bytes, wanted: Callable[[int], bool]) -> int:
    """Mark the bytes that are wanted."""
    table = bytes(255 if wanted(value) else 0 for value in range(256))
    return int.from_bytes(raw.translate(table), "little")


def _of_floats(size: int, exponent: int, parts: int = 1) -> Finder:
    """Find where all bits of the exponent are set; complex numbers have two parts.

    Args:
        size: bytes of a part.
        exponent: its bits in the first two bytes of a part, as a big-endian number.
        parts: of an element; one with a NaN part is NaN, whatever the other.
    """
    high, low = divmod(exponent, 256)
    suspects = [bytes([value]) for value in range(256) if value & high == high]

    def find_part(plane: Callable[[int], bytes]) -> _Marks:
        """Find in a part of all elements, given their bytes by significance, highest first."""
        first = plane(0)
        if not any(value in first for value in suspects):
            return _Marks(0, 0)
        second = plane(1)
        found = _marked(first, lambda value: value & high == high)
        found &= _marked(second, lambda value: value & low == low)
        infinite = found & _marked(first, lambda value: not value & ~high & 127)
        infinite &= _marked(second, lambda value: not value & ~low & 255)
        for number in range(2, size if infinite else 0):
            infinite &= _marked(plane(number), lambda value: not value)
        return _Marks(found & ~infinite, infinite)

    def find(raw: bytes, byteorder: str) -> _Marks:
        nan = infinite = 0
        for part in range(parts):
            start, step = part * size, 1
            if byteorder != "big":
                start, step = start + size - 1, -1
            found = find_part(partial(_plane, raw, start, step, size * parts))
            nan, infinite = nan | found.nan, infinite | found.infinite
        return _Marks(nan, infinite & ~nan)

    return find


def _plane(raw: bytes, start: int, step: int, stride: int, number: int) -> bytes:
    """Return a byte of each element."""
    return raw[start + step * number :: stride]


def _of_bytes(nan: set[int], infinite: frozenset[int] = frozenset()) -> Finder:
    """Find by the bit patterns of one byte."""
    return lambda raw, _: _Marks(
        _marked(raw, lambda value: value in nan), _marked(raw, lambda value: value in infinite)
    )


_FLOATS: dict[str, Finder] = {
    "float64": _of_floats(8, 0x7FF0),
    "float32": _of_floats(4, 0x7F80),
    "float16": _of_floats(2, 0x7C00),
    "complex128": _of_floats(8, 0x7FF0, 2),
    "complex64": _of_floats(4, 0x7F80, 2),
    "complex32": _of_floats(2, 0x7C00, 2),
    "bfloat16": _of_floats(2, 0x7F80),
    "bcomplex32": _of_floats(2, 0x7F80, 2),
    # https://arxiv.org/abs/2209.05433 and https://arxiv.org/abs/2206.02915 (FNUZ); the last is the
    # scale of https://www.opencompute.org/documents/ocp-microscaling-formats-mx-v1-0-spec-final-pdf
    "float8_e4m3fn": _of_bytes({0x7F, 0xFF}),
    "float8_e5m2": _of_bytes(
        {0x7D, 0x7E, 0x7F, 0xFD, 0xFE, 0xFF}, frozenset({0x7C, 0xFC})
    ),
    "float8_e4m3fnuz": _of_bytes({0x80}),
    "float8_e5m2fnuz": _of_bytes({0x80}),
    "float8_e8m0fnu": _of_bytes({0xFF}),
}  # fmt: skip

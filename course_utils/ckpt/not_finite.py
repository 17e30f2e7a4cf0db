"""Counts the NaN and infinite values of a tensor, with NumPy alone, whatever its dtype."""

from collections.abc import Callable, Iterator
from math import prod
from typing import Any, NamedTuple

import numpy as np

from course_utils.formats.contents import Contents
from course_utils.formats.tensors import TensorInfo

BLOCK = 16 << 20  # bytes in memory at a time
Array = np.ndarray[Any, Any]


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
    count = _FLOATS[info.dtype]
    nan = infinite = 0
    for raw in _blocks(contents, info):
        progress(len(raw))
        found = count(np.frombuffer(raw, np.uint8), contents.byteorder)
        nan, infinite = nan + found.nan, infinite + found.infinite
    if (nan or infinite) and not _shows_all(info):
        return _count_shown(contents, info, count)
    return NotFinite(nan, infinite)


def _blocks(contents: Contents, info: TensorInfo) -> Iterator[bytes]:
    """Yield the memory from a tensor's first element to its last."""
    source = contents.content(contents.records[info.record or ""])
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


def _count_shown(contents: Contents, info: TensorInfo, count: "Counter") -> NotFinite | None:
    """Count where a tensor steps over some of its memory: only what it shows."""
    memory = np.frombuffer(b"".join(_blocks(contents, info)), np.dtype((np.void, info.itemsize)))
    shape = [n if step else 1 for n, step in zip(info.shape, info.stride, strict=True)]
    if prod(shape) > len(memory):  # rows that overlap
        places = np.zeros(len(memory), bool)
        _mark(places, shape, info.stride)
        shown = memory[places]
    else:
        steps = [step * info.itemsize for step in info.stride]
        shown = np.lib.stride_tricks.as_strided(memory, shape, steps, writeable=False)
    found = count(np.frombuffer(shown.tobytes(), np.uint8), contents.byteorder)
    return found


def _mark(places: Array, shape: list[int], strides: tuple[int, ...]) -> None:
    """Set the places that a tensor shows."""
    places[0] = True
    for length, step in zip(shape, strides, strict=True):
        done = 1
        while done < length:  # doubling: a length may be as large as the memory
            more = min(done, length - done)
            places[more * step :] |= places[: len(places) - more * step].copy()
            done += more


Counter = Callable[[Array, str], NotFinite]


def _of_parts(name: str, parts: int = 1) -> Counter:
    """Count with NumPy's own dtype; complex numbers have two parts."""

    def count(raw: Array, byteorder: str) -> NotFinite:
        values = raw.view(_ordered(name, byteorder))
        if np.isfinite(values).all():
            return NotFinite(0, 0)
        return _summed(np.isnan(values), np.isinf(values), parts)

    return count


def _of_bfloat16(raw: Array, byteorder: str, parts: int = 1) -> NotFinite:
    bits = raw.view(_ordered("u2", byteorder)) & 0x7FFF
    if not (bits >= 0x7F80).any():
        return NotFinite(0, 0)
    return _summed(bits > 0x7F80, bits == 0x7F80, parts)


def _ordered(name: str, byteorder: str) -> np.dtype[Any]:
    return np.dtype((">" if byteorder == "big" else "<") + name)


def _of_bytes(nan: set[int], infinite: frozenset[int] = frozenset()) -> Counter:
    """Count by the bit patterns of one byte."""
    is_nan, is_infinite = (np.isin(np.arange(256), list(found)) for found in (nan, infinite))

    def count(raw: Array, _: str) -> NotFinite:
        counts = np.bincount(raw, minlength=256)
        return NotFinite(int(counts[is_nan].sum()), int(counts[is_infinite].sum()))

    return count


def _summed(nan: Array, infinite: Array, parts: int) -> NotFinite:
    """Count elements; one with a NaN part is NaN, whatever the other."""
    is_nan, is_infinite = nan.reshape(-1, parts).any(1), infinite.reshape(-1, parts).any(1)
    return NotFinite(int(is_nan.sum()), int((is_infinite & ~is_nan).sum()))


_FLOATS: dict[str, Counter] = {
    "float64": _of_parts("f8"),
    "float32": _of_parts("f4"),
    "float16": _of_parts("f2"),
    "complex128": _of_parts("f8", 2),
    "complex64": _of_parts("f4", 2),
    "complex32": _of_parts("f2", 2),
    "bfloat16": _of_bfloat16,
    "bcomplex32": lambda raw, byteorder: _of_bfloat16(raw, byteorder, 2),
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

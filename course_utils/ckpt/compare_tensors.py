"""Compares two tensors of two files; one block of each is in memory at a time."""

from collections.abc import Iterator
from math import isnan, prod
from typing import NamedTuple

from course_utils.ckpt.changes import Change
from course_utils.formats.contents import Contents
from course_utils.formats.dtypes import PER_BYTE
from course_utils.formats.elements import BLOCK, blocks_of, record_of
from course_utils.formats.tensors import TensorInfo

PACKED = {*PER_BYTE, "float4_e2m1fn_x2"}


class Side(NamedTuple):
    """A tensor and the file it lies in."""

    contents: Contents
    info: TensorInfo


def compare_tensors(left: Side, right: Side, ignored: frozenset[str]) -> Iterator[Change]:
    """Yield how two tensors differ, under the first one's name.

    Tensors of other shapes are not compared further; of other dtypes, by value.

    Args:
        left, right: the two.
        ignored: what plays no part, of ``"layout"``, ``"device"``, ``"requires_grad"``.
    """
    one, two = left.info, right.info
    name = one.name
    if one.shape != two.shape:
        yield Change(name, "shape", f"{one.shape} and {two.shape}")
        return
    if one.dtype != two.dtype:
        yield Change(name, "dtype", f"{one.dtype} and {two.dtype}")
    if "layout" not in ignored and one.stride != two.stride and 0 not in one.shape:
        yield Change(name, "layout", f"stride {one.stride} and {two.stride}")
    if "layout" not in ignored and (one.conj, one.neg) != (two.conj, two.neg):
        yield Change(name, "layout", "one is a conjugate or negative view")
    if "device" not in ignored and one.device != two.device:
        yield Change(name, "device", f"{one.device} and {two.device}")
    if "requires_grad" not in ignored and one.requires_grad != two.requires_grad:
        yield Change(name, "requires_grad", f"{one.requires_grad} and {two.requires_grad}")
    yield from _compare_elements(left, right)


def _compare_elements(left: Side, right: Side) -> Iterator[Change]:
    one, two = left.info, right.info
    if one.record is None or two.record is None:
        if one.record != two.record:
            side = "first" if one.record is None else "second"
            yield Change(one.name, "elements", f"the {side} has none (meta device)")
        return
    if one.dtype != two.dtype and {one.dtype, two.dtype} & PACKED:
        return  # several elements in a byte, and their dtype is a difference already
    if one.dtype == two.dtype and _lie_alike(left, right):
        return
    differing, largest = 0, None
    for a, b in _paired(left, right):
        if one.dtype == two.dtype and a == b:
            continue
        from course_utils.numbers import compare  # with NumPy; equal bytes do without

        count, distance = compare(a, b, one.dtype, two.dtype)
        differing += count
        largest = _larger(largest, distance)
    if differing:
        yield Change(one.name, "elements", f"{differing:,} of {prod(one.shape):,}", largest)


def _larger(one: float | None, two: float | None) -> float | None:
    """Return the larger of two distances; NaN wins, None loses."""
    if one is None or two is None:
        return two if one is None else one
    return one if isnan(one) or one > two else two


def _lie_alike(left: Side, right: Side) -> bool:
    """Whether two tensors have the same steps and bits, and the same bytes at them and between."""
    one, two = left.info, right.info
    bits = (one.stride, one.conj, one.neg, left.contents.byteorder)
    if bits != (two.stride, two.conj, two.neg, right.contents.byteorder):
        return False
    if one.span != prod(one.shape) or one.dtype in PER_BYTE:
        return False  # with gaps, or elements that are repeated or packed
    contents = [side.contents.content(record_of(*side)) for side in (left, right)]
    starts = [side.info.storage_offset * side.info.itemsize for side in (left, right)]
    for done in range(0, one.nbytes, BLOCK):
        count = min(BLOCK, one.nbytes - done)
        a, b = (c.read_at(s + done, count) for c, s in zip(contents, starts, strict=True))
        if a != b or len(a) < count:
            return False
    return True


def _paired(left: Side, right: Side) -> Iterator[tuple[bytes, bytes]]:
    """Yield as many elements of both at a time, wherever their blocks are cut."""
    streams = [blocks_of(*side) for side in (left, right)]
    sizes = [side.info.itemsize for side in (left, right)]
    held = [b"", b""]
    while True:
        held = [data or next(stream, b"") for data, stream in zip(held, streams, strict=True)]
        count = min(len(data) // size for data, size in zip(held, sizes, strict=True))
        if not count:
            return
        yield held[0][: count * sizes[0]], held[1][: count * sizes[1]]
        held = [data[count * size :] for data, size in zip(held, sizes, strict=True)]

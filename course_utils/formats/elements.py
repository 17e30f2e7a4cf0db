"""The elements of a tensor, in order, as bytes: without torch, a block at a time."""

import array
from collections.abc import Iterator
from itertools import product

from course_utils.errors import DamagedCheckpointError
from course_utils.formats.contents import Contents
from course_utils.formats.dtypes import PER_BYTE, is_complex
from course_utils.formats.open import REMEDY, dense
from course_utils.formats.tensors import TensorInfo
from course_utils.formats.zip import Record

BLOCK = 16 << 20  # bytes in memory at a time
_FORMATS = {1: "B", 2: "H", 4: "I", 8: "Q"}


def blocks(contents: Contents, name: str) -> Iterator[bytes]:
    """Yield a tensor's elements in the order of its dimensions, little-endian, in blocks.

    Conjugate and negative bits are applied. Elements of less than a byte come packed as they lie.
    A tensor that does not lie in its own order in the file is read whole.

    Raises:
        DamagedCheckpointError: bytes are missing.
        ValueError: it has no elements in the file (meta device).
    """
    yield from blocks_of(contents, contents.tensors[name])


def blocks_of(contents: Contents, info: TensorInfo) -> Iterator[bytes]:
    """Yield what `blocks` does, of a tensor by its description."""
    for piece in raw_blocks(contents, info):
        yield _plain(piece, info, contents.byteorder)


def raw_blocks(contents: Contents, info: TensorInfo) -> Iterator[bytes]:
    """Yield what `blocks_of` does, but as the file has it: byte order and bits are not applied."""
    if info.record is None:
        raise ValueError(f"{info.name} is on the meta device: it has no values")
    if info.dtype in PER_BYTE or info.stride == dense(info.shape):
        yield from _in_order(contents, info)
    else:
        yield _gathered(contents, info)


def record_of(contents: Contents, info: TensorInfo) -> Record:
    """Return the record that holds a tensor's storage.

    Raises:
        DamagedCheckpointError: the file has no such record.
    """
    record = contents.records.get(info.record or "")
    if record is None:
        raise DamagedCheckpointError(
            f"{contents.path}: tensor {info.name} lies in record {info.record}, which is not "
            f"there. {REMEDY}"
        )
    return record


def _in_order(contents: Contents, info: TensorInfo) -> Iterator[bytes]:
    start = info.storage_offset * info.itemsize // PER_BYTE.get(info.dtype, 1)
    for done in range(0, info.nbytes, BLOCK):
        yield _read(contents, info, start + done, min(BLOCK, info.nbytes - done))


def _gathered(contents: Contents, info: TensorInfo) -> bytes:
    """Pick elements one row after the other."""
    if not info.span:
        return b""
    data = _read(contents, info, info.storage_offset * info.itemsize, info.span * info.itemsize)
    unit = min(info.itemsize, 8)
    cells = memoryview(data).cast(_FORMATS[unit])  # type: ignore[call-overload]
    shape, stride = info.shape, tuple(step * (info.itemsize // unit) for step in info.stride)
    if info.itemsize > unit:  # complex128: two cells an element
        shape, stride = (*shape, 2), (*stride, 1)
    *outer, length = shape or (1,)
    *steps, step = stride or (1,)
    starts = (
        sum(i * s for i, s in zip(index, steps, strict=True))
        for index in product(*map(range, outer))
    )
    if not step:  # expanded
        return b"".join(cells[s : s + 1].tobytes() * length for s in starts)
    return b"".join(cells[s : s + (length - 1) * step + 1 : step].tobytes() for s in starts)


def _read(contents: Contents, info: TensorInfo, start: int, count: int) -> bytes:
    data = contents.content(record_of(contents, info)).read_at(start, count)
    if len(data) < count:
        raise DamagedCheckpointError(
            f"{contents.path}: tensor {info.name} needs bytes {start:,} to {start + count:,} of "
            f"record {info.record}, which does not hold them. {REMEDY}"
        )
    return data


def _plain(data: bytes, info: TensorInfo, byteorder: str) -> bytes:
    """Return the elements little-endian and without bits that stand for an operation."""
    part = info.itemsize // 2 if is_complex(info.dtype) else info.itemsize
    if byteorder == "big" and part > 1:
        cells = array.array(_FORMATS[part], data)
        cells.byteswap()
        data = cells.tobytes()
    if not (info.conj or info.neg) or not data:
        return data
    signs = [info.neg, info.neg != info.conj] if is_complex(info.dtype) else [info.neg]
    element = b"".join(bytes(part - 1) + (b"\x80" if sign else b"\0") for sign in signs)
    mask = element * (len(data) // len(element))
    flipped = int.from_bytes(data, "little") ^ int.from_bytes(mask, "little")
    return flipped.to_bytes(len(data), "little")

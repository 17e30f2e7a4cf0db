"""Read stretches of a file straight into tensors that are there, several at a time."""

import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from threading import local
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.graph import increment_version
from zlib_ng import zlib_ng

from course_utils.checkpoint.verified_read import CHUNK, THREADS, refuse_changed
from course_utils.errors import DamagedRecordError
from course_utils.files.open_file import OpenFile
from course_utils.formats.zip import Record

ALONE = 16 << 20  # bytes that one thread reads about as fast as several, once these are started

_memory = local()


class Reading(NamedTuple):
    """What a file says about a tensor, and the tensor that waits for its values.

    Attributes:
        start: byte position of the first element.
        span: elements from the first to the last, both included.
        shape: as in the file.
        stride: as in the file, in elements.
        dtype: as in the file.
        into: of the same shape; on any device, of any dtype and stride.
    """

    start: int
    span: int
    shape: tuple[int, ...]
    stride: tuple[int, ...]
    dtype: torch.dtype
    into: Tensor

    @property
    def direct(self) -> bool:
        """Whether the file's bytes are the tensor's own, in one piece."""
        into = self.into
        return (
            into.device.type == "cpu"
            and into.dtype == self.dtype
            and self.span == into.numel()
            and not (into.is_conj() or into.is_neg())
            and all(
                size == 1 or here == there
                for size, here, there in zip(self.shape, into.stride(), self.stride, strict=True)
            )
        )


def verify(file: OpenFile, records: Iterable[Record]) -> None:
    """Read records and compare their CRC-32; nothing is kept but what the system caches.

    Raises:
        DamagedRecordError: the bytes are missing or do not match.
        OSError: the system could not read them.
    """
    records = list(records)
    if file.kept is not None:
        for record in records:
            content = file.kept[record.offset : record.offset + record.size]
            refuse_changed(record, zlib_ng.crc32(content))
        return
    size = sum(record.size for record in records)
    _spread(partial(_verify_group, file.fileno()), _groups(records), size)


def read(file: OpenFile, readings: Iterable[Reading]) -> None:
    """Fill tensors from a file whose bytes have been verified.

    Raises:
        DamagedRecordError: the file is shorter now.
        OSError: the system could not read it.
    """
    if file.kept is not None:
        _copy(file.kept, readings)
        return
    jobs: list[Callable[[], object]] = []
    direct: list[Tensor] = []
    size, descriptor = 0, file.fileno()
    for reading in readings:
        size += reading.into.nbytes
        if reading.direct:
            jobs += _direct_jobs(descriptor, reading)
            direct.append(reading.into)
        elif reading.into.numel():
            jobs.append(partial(_through_buffer, descriptor, reading))
    _spread(_run, _bundled(jobs), size)
    increment_version(direct)  # a graph that has kept their old values says so when it needs them


def _spread(work: Callable[[Any], object], items: Iterable[Any], size: int) -> None:
    """Do the work in several threads, unless starting them takes longer than these bytes do."""
    if size <= ALONE:
        for item in items:
            work(item)
        return
    with ThreadPoolExecutor(THREADS, "checkpoint-reader") as pool:
        for _ in pool.map(work, items):
            pass


def _copy(content: memoryview, readings: Iterable[Reading]) -> None:
    """Fill tensors from a file that is in memory."""
    whole = torch.frombuffer(content, dtype=torch.uint8)
    of_dtype: dict[torch.dtype, Tensor] = {}
    with torch.no_grad():
        for start, span, shape, stride, dtype, into in readings:
            size = dtype.itemsize
            if start % size:
                part = whole[start : start + span * size].clone().view(dtype)
                into.copy_(part.as_strided(shape, stride))
            elif span:
                if dtype not in of_dtype:
                    of_dtype[dtype] = whole[: len(whole) // size * size].view(dtype)
                into.copy_(of_dtype[dtype].as_strided(shape, stride, start // size))


def _groups(records: Iterable[Record]) -> Iterator[list[Record]]:
    """Put neighbours together that fit one buffer; what is larger stands alone."""
    group: list[Record] = []
    for record in sorted(records, key=lambda record: record.offset):
        if group and record.offset + record.size - group[0].offset > CHUNK:
            yield group
            group = []
        group.append(record)
    if group:
        yield group


def _verify_group(descriptor: int, group: list[Record]) -> None:
    buffer = _buffer()
    first, last = group[0], group[-1]
    if len(group) > 1:
        found = _fill(descriptor, buffer[: last.offset + last.size - first.offset], first.offset)
    for record in group:
        crc32 = 0
        if len(group) > 1:
            start = record.offset - first.offset
            crc32 = zlib_ng.crc32(found[start : start + record.size])
        for start in range(0, record.size if len(group) == 1 else 0, CHUNK):
            part = buffer[: min(CHUNK, record.size - start)]
            crc32 = zlib_ng.crc32(_fill(descriptor, part, record.offset + start, record), crc32)
        refuse_changed(record, crc32)


def _direct_jobs(descriptor: int, reading: Reading) -> Iterator[Callable[[], object]]:
    view = _bytes_of(reading.into)
    for start in range(0, len(view), CHUNK):
        yield partial(_fill, descriptor, view[start : start + CHUNK], reading.start + start)


def _bundled(jobs: list[Callable[[], object]]) -> Iterator[list[Callable[[], object]]]:
    """Hand out many jobs at a time: small tensors are read in less than a thread takes to wake."""
    size = max(1, min(64, len(jobs) // (4 * THREADS)))
    for start in range(0, len(jobs), size):
        yield jobs[start : start + size]


def _run(jobs: list[Callable[[], object]]) -> None:
    for job in jobs:
        job()


def _through_buffer(descriptor: int, reading: Reading) -> None:
    """Bring values of another dtype, stride or device over, some rows at a time."""
    itemsize, into = reading.dtype.itemsize, reading.into.detach()
    rows = reading.shape[0] if reading.shape else 1
    in_order = reading.span == into.numel() and _is_contiguous(reading)
    step = max(1, CHUNK * rows // (reading.span * itemsize)) if in_order else rows
    for row in range(0, rows, step):
        count = min(step, rows - row)
        span = reading.span * count // rows if in_order else reading.span
        memory = _staging(span * itemsize, into.device.type)
        start = reading.start + (row * reading.stride[0] * itemsize if row else 0)
        _fill(descriptor, memory.numpy().data, start)
        shape = (count, *reading.shape[1:]) if reading.shape else ()
        values = memory.view(reading.dtype).as_strided(shape, reading.stride)
        (into[row : row + count] if reading.shape else into).copy_(values)


def _staging(size: int, device: str) -> Tensor:
    """Return memory to bring values over from: for a GPU pinned, once for each thread."""
    if device != "cuda" or size > CHUNK:
        return torch.empty(size, dtype=torch.uint8, device="cpu")
    if not hasattr(_memory, "pinned"):
        _memory.pinned = _pinned(CHUNK)
    pinned: Tensor = _memory.pinned  # free again: copying from it waits for the device
    return pinned[:size]


def _pinned(size: int) -> Tensor:
    return torch.empty(size, dtype=torch.uint8, device="cpu", pin_memory=True)


def _is_contiguous(reading: Reading) -> bool:
    expected = 1
    for size, stride in zip(reversed(reading.shape), reversed(reading.stride), strict=True):
        if size != 1 and stride != expected:
            return False
        expected *= size
    return True


def _bytes_of(tensor: Tensor) -> memoryview:
    """Return the memory of a tensor whose elements lie in one piece."""
    whole = tensor.untyped_storage()
    start = tensor.storage_offset() * tensor.dtype.itemsize
    flat = torch.empty(0, dtype=torch.uint8, device="cpu")
    return flat.set_(whole, start, (tensor.nbytes,), (1,)).numpy().data


def _buffer() -> memoryview:
    """Return this thread's own buffer."""
    if not hasattr(_memory, "buffer"):
        _memory.buffer = memoryview(bytearray(CHUNK))
    buffer: memoryview = _memory.buffer
    return buffer


def _fill(
    descriptor: int, memory: memoryview, position: int, record: Record | None = None
) -> memoryview:
    done = 0
    while done < len(memory):
        count = os.preadv(descriptor, [memory[done:]], position + done)
        if not count:
            name = record.name if record else None
            raise DamagedRecordError(name, "the file ends before its last byte")
        done += count
    return memory

"""Read a checkpoint's storages into their final memory, several at a time, hashed on the way."""

import ctypes
import errno
import mmap
import os
import sys
from collections import deque
from collections.abc import Iterable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

import torch
from torch import UntypedStorage
from zlib_ng import zlib_ng

from course_utils.errors import DamagedRecordError
from course_utils.files.open_file import OpenFile
from course_utils.formats.checksum import problem_of
from course_utils.formats.zip import Record

CHUNK = 2 << 20  # bytes read, then hashed, while they are in the processor's cache
PART = 4 << 20  # bytes of fresh memory that one thread gets, fills and hashes: two huge pages
SMALL = 1 << 20  # up to so many bytes are read by the thread that takes them
AHEAD = 32 << 20  # bytes asked for before they are needed
THREADS = 4  # copying, hashing and waiting overlap: more than the cores of a small machine


class StorageReader:
    """Reads records in the order given, ahead of those who take them. Use it in a ``with``.

    Args:
        descriptor: of the open file.
        records: those to read.
        checksums: whether the file has any; else only sizes are verified.
        into: memory that waits for a record's bytes, by its name; others get new memory.
    """

    def __init__(
        self,
        descriptor: int,
        records: list[Record],
        *,
        checksums: bool = True,
        into: Mapping[str, UntypedStorage] = MappingProxyType({}),
    ) -> None:
        self._descriptor, self._checksums, self._into = descriptor, checksums, into
        self._waiting = deque(records)
        self._begun: dict[str, _Read] = {}
        self._ahead = 0
        self._huge_pages_free = _huge_pages_free() // 2
        self._pool = ThreadPoolExecutor(THREADS, "checkpoint-reader")

    def take(self, record: Record) -> UntypedStorage:
        """Return a record's bytes, verified, in memory of their own; each can be taken once.

        Raises:
            DamagedRecordError: the bytes are missing or do not match their CRC-32.
        """
        while record.name not in self._begun:
            self._begin(self._waiting.popleft())
        read = self._begun.pop(record.name)
        self._ahead -= read.record.size
        while self._waiting and self._ahead < AHEAD:
            self._begin(self._waiting.popleft())
        _finish(read, self._descriptor, self._checksums)
        return read.storage

    def verify_rest(self) -> None:
        """Verify the records that nobody took.

        Raises:
            DamagedRecordError: the bytes are missing or do not match their CRC-32.
        """
        for record in [*(read.record for read in self._begun.values()), *self._waiting]:
            self.take(record)

    def __enter__(self) -> "StorageReader":
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown(cancel_futures=True)

    def _begin(self, record: Record) -> None:
        """Give a record its memory; other threads fill it if it is large."""
        storage = self._into.get(record.name)
        read = _Read(record, UntypedStorage(record.size) if storage is None else storage)
        if record.size > SMALL:
            if record.size < self._huge_pages_free:
                self._huge_pages_free -= record.size
                _ask_for_huge_pages(read.storage)
            view, address = memory_of(read.storage), read.storage.data_ptr()
            for start in range(0, record.size, PART):
                part = view[start : start + PART]
                where = record.offset + start, address + start
                future = self._pool.submit(_fill_fresh, self._descriptor, part, *where)
                read.parts.append((future, len(part)))
        self._begun[record.name] = read
        self._ahead += record.size


@dataclass
class _Read:
    record: Record
    storage: UntypedStorage
    parts: list[tuple[Future[int], int]] = field(default_factory=list)  # CRC-32s, lengths


def has_checksums(records: Iterable[Record]) -> bool:
    """Whether a file was saved with checksums: without them, all are zero."""
    return any(record.crc32 for record in records if record.size)


def refuse_changed(record: Record, crc32: int) -> None:
    """Compare the CRC-32 of a record's bytes with the one that was written beside them.

    Raises:
        DamagedRecordError: they differ.
    """
    if problem := problem_of(record, crc32):
        raise DamagedRecordError(record.name, problem)


def _finish(read: _Read, descriptor: int, checksums: bool) -> None:
    """Wait for a record's bytes and compare their CRC-32 with the directory's."""
    record = read.record
    try:
        crc32 = 0
        for future, length in read.parts:
            crc32 = zlib_ng.crc32_combine(crc32, future.result(), length)
        if not read.parts:
            crc32 = _fill(descriptor, memory_of(read.storage), record.offset)
    except (EOFError, OSError) as error:
        raise _unread(record, error) from error
    if checksums:
        refuse_changed(record, crc32)


def _unread(record: Record, error: EOFError | OSError) -> Exception:
    if isinstance(error, EOFError):
        return DamagedRecordError(record.name, "the file ends before its last byte")
    if error.errno == errno.EIO:
        return DamagedRecordError(record.name, f"the disk cannot read it ({error})")
    return error  # the system's or the network's trouble: it says nothing of the file


def read_short(file: OpenFile, record: Record, *, checksums: bool) -> bytes:
    """Return the bytes of a record that is not a tensor, verified if there are checksums.

    Raises:
        DamagedRecordError: the bytes are missing or do not match their CRC-32.
    """
    try:
        data = file.read_at(record.offset, record.size)
        if len(data) < record.size:
            raise EOFError
    except (EOFError, OSError) as error:
        raise _unread(record, error) from error
    if checksums:
        refuse_changed(record, zlib_ng.crc32(data))
    return data


def _fill_fresh(descriptor: int, memory: memoryview, position: int, address: int) -> int:
    _make_ready(address, len(memory))
    return _fill(descriptor, memory, position)


def _fill(descriptor: int, memory: memoryview, position: int) -> int:
    """Fill memory from the file and return the CRC-32 of what came."""
    crc32 = 0
    while memory:
        count = os.preadv(descriptor, [memory], position)
        if not count:
            raise EOFError
        crc32 = zlib_ng.crc32(memory[:count], crc32)
        position, memory = position + count, memory[count:]
    return crc32


def memory_of(storage: UntypedStorage) -> memoryview:
    """Return the bytes of a storage on the CPU; keep the storage alive while you use them."""
    return torch.empty(0, dtype=torch.uint8, device="cpu").set_(storage).numpy().data


def _huge_pages_free() -> int:
    """Return the bytes of free memory in pieces of 2 MiB and more, 0 where it is unknown.

    Where none are left, asking for huge pages makes the system move memory about, for seconds.

    Source:
        ``/proc/buddyinfo`` in proc(5): free pieces of 4 KiB, 8 KiB, … 4 MiB in each zone.
    """
    try:
        zones = Path("/proc/buddyinfo").read_text().splitlines()
    except OSError:
        return 0
    return sum((int(n2) << 21) + (int(n4) << 22) for n2, n4 in (z.split()[-2:] for z in zones))


def _ask_for_huge_pages(storage: UntypedStorage) -> None:
    """Save a page fault for each 4 KiB of fresh memory. It is a hint: failure does no harm."""
    if hasattr(mmap, "MADV_HUGEPAGE"):
        _advise(storage.data_ptr(), len(storage), mmap.MADV_HUGEPAGE)


def _make_ready(address: int, length: int) -> None:
    """Get fresh memory from the system in one call: a read into it would stop at every page.

    A hint like the other. Source: ``MADV_POPULATE_WRITE`` in madvise(2), since Linux 5.14.
    """
    if sys.platform == "linux":
        _advise(address, length, POPULATE_WRITE)


def _advise(address: int, length: int, advice: int) -> None:
    first = -(-address // mmap.PAGESIZE) * mmap.PAGESIZE
    last = (address + length) // mmap.PAGESIZE * mmap.PAGESIZE
    if last > first:
        _libc.madvise(ctypes.c_void_p(first), ctypes.c_size_t(last - first), advice)


POPULATE_WRITE = 23  # Python has no name for it
_libc = ctypes.CDLL(None)

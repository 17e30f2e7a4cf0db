"""Write a file in large aligned blocks, past the page cache where the file system allows it.

Writing through the page cache costs a copy by the kernel and a long flush at the end.
``O_DIRECT`` hands blocks to the disk at once, but takes only aligned memory, positions and
lengths. So the bytes are gathered in a few reused blocks, small enough to stay in the
processor's cache, and a thread writes one block while the next is gathered.
"""

import errno
import fcntl
import mmap
import os
import queue
import threading
from contextlib import suppress

from course_utils.files.locks import not_for_children
from course_utils.formats import checksum

BLOCK = 4 << 20  # bytes
BLOCKS = 4  # one is filled, one is written, one waits, one is held back for a patch
STEP = 256 << 10  # bytes copied, then hashed, while they are in the cache
PAGE = 4096  # O_DIRECT asks no coarser alignment


class BlockWriter:
    """Append bytes to an empty file. Leaving the ``with`` body hands all of them to the system.

    They are flushed to the disk only by a later ``fsync``. If the body raises, the rest is not
    written; an interrupt while that is waited for ends the waiting. The file may be closed at
    any time: the thread that writes has a descriptor of its own.

    Args:
        descriptor: of the file, open for writing.

    Raises:
        OSError: a write failed; raised by a later method or at the end of the body.
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._disk = _Disk(descriptor)
        self._made = 1
        self._held: list[tuple[int, memoryview]] = []
        self._hold: range = range(0)  # blocks with these positions wait for `patch`
        self._block, self._start, self._filled = _new_block(), 0, 0

    @property
    def position(self) -> int:
        """Bytes appended so far."""
        return self._start + self._filled

    def append(self, data: bytes) -> None:
        """Append a few bytes."""
        self._append(memoryview(data))

    def append_hashed(self, data: memoryview, crc32: int = 0) -> int:
        """Append bytes and return the CRC-32 of what was copied, continuing from ``crc32``."""
        for start in range(0, len(data), STEP):
            crc32 = self._append(data[start : start + STEP], crc32)
        return crc32

    def hold(self, length: int) -> None:
        """Keep the next ``length`` bytes in memory until ``patch`` completes them."""
        self._hold = range(self.position, self.position + length)

    def patch(self, position: int, data: bytes) -> None:
        """Overwrite held bytes, and let them go to the disk."""
        for start, block in [*self._held, (self._start, self._block)]:
            first, last = max(position, start), min(position + len(data), start + BLOCK)
            if first < last:
                block[first - start : last - start] = data[first - position : last - position]
        self._hold = range(0)
        for start, block in self._held:
            self._disk.write(start, block)
        self._held.clear()

    def __enter__(self) -> "BlockWriter":
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            if kind is None:
                rest = self._block[: self._filled + -self._filled % PAGE]
                self._disk.write(self._start, rest)
                self._disk.finish()
                os.ftruncate(self._descriptor, self.position)
        finally:
            self._disk.abort()

    def __del__(self) -> None:
        """End the thread also where an interrupt came between two steps of ours."""
        if disk := vars(self).get("_disk"):
            disk.abort(wait=False)

    def _append(self, data: memoryview, crc32: int = 0) -> int:
        while data:
            taken = data[: BLOCK - self._filled]
            copy = self._block[self._filled : self._filled + len(taken)]
            copy[:] = taken
            crc32 = checksum.crc32(copy, crc32)
            self._filled += len(taken)
            data = data[len(taken) :]
            if self._filled == BLOCK:
                self._next_block()
        return crc32

    def _next_block(self) -> None:
        if self._hold and self._hold.start < self._start + BLOCK and self._start < self._hold.stop:
            self._held.append((self._start, self._block))
        else:
            self._disk.write(self._start, self._block)
        self._block = self._free_block()
        self._start, self._filled = self._start + BLOCK, 0

    def _free_block(self) -> memoryview:
        if self._made < BLOCKS:
            self._made += 1
            return _new_block()
        return self._disk.written()


class _Disk:
    """A thread that writes blocks, and all it needs: it may outlive whoever gives it work.

    No thread pool: those take no work any more once the interpreter begins to exit. A daemon,
    so that an interpreter whose main thread was interrupted can exit; who waits for the save
    keeps it alive.
    """

    def __init__(self, descriptor: int) -> None:
        self._file = not_for_children(lambda: os.fdopen(os.dup(descriptor), "wb", buffering=0))
        self._direct = _set_direct(descriptor, True)
        self._full: queue.SimpleQueue[tuple[int, memoryview] | None] = queue.SimpleQueue()
        self._free: queue.SimpleQueue[memoryview] = queue.SimpleQueue()
        self._error: BaseException | None = None
        self._aborted = False
        self._thread: threading.Thread | None = None
        self._alone = False  # whether blocks are written by whoever hands them over
        self._ended = threading.Event()  # an interrupted join would leave the thread as if ended

    def write(self, position: int, block: memoryview) -> None:
        """Have a block written; the first one starts the thread."""
        self._raise_error()
        if self._thread is None and not self._alone:
            self._thread = threading.Thread(
                target=self._write_blocks, name="checkpoint-writer", daemon=True
            )
            try:
                self._thread.start()
            except RuntimeError:  # none to be had; Python 3.12.1 starts none while it exits
                self._thread, self._alone = None, True
        if self._alone:
            self._write_block(position, block)
        else:
            self._full.put((position, block))

    def written(self) -> memoryview:
        """Return a block that has been written."""
        self._raise_error()
        return self._free.get()

    def finish(self) -> None:
        """Wait until all is written."""
        if not self._alone:
            self._full.put(None)
            self._ended.wait()
        self._raise_error()

    def abort(self, *, wait: bool = True) -> None:
        """Write no more, and end the thread; after ``finish`` there is nothing left to do."""
        self._aborted = True
        self._full.put(None)
        if self._thread is None:
            self._file.close()
        elif wait and self._thread.ident is not None:  # else it is to end as soon as it starts
            self._ended.wait()

    def _raise_error(self) -> None:
        if self._error:
            raise self._error

    def _write_blocks(self) -> None:
        """Write what comes until None does; after an error only give the blocks back."""
        try:
            while job := self._full.get():
                self._write_block(*job)
        finally:
            self._file.close()
            self._ended.set()

    def _write_block(self, position: int, block: memoryview) -> None:
        try:
            self._write(position, block)
        except BaseException as error:
            self._error = error
        self._free.put(block)

    def _write(self, position: int, data: memoryview) -> None:
        while data and not self._aborted and not self._error:
            try:
                written = os.pwrite(self._file.fileno(), data, position)
            except OSError as error:
                if error.errno != errno.EINVAL or not self._direct:
                    raise
                # It was worth a try.
                self._direct = not _set_direct(self._file.fileno(), False)
                continue
            if not written:
                raise OSError(errno.EIO, "the system wrote nothing and gave no reason")
            position, data = position + written, data[written:]


def _new_block() -> memoryview:
    block = mmap.mmap(-1, BLOCK, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    if hasattr(mmap, "MADV_HUGEPAGE"):
        with suppress(OSError):  # huge pages save a thousand page faults a block
            block.madvise(mmap.MADV_HUGEPAGE)
    return memoryview(block)


def _set_direct(descriptor: int, wanted: bool) -> bool:
    """Switch an open file to or from ``O_DIRECT``; whether the system agreed."""
    direct = getattr(os, "O_DIRECT", 0)
    flags = fcntl.fcntl(descriptor, fcntl.F_GETFL)
    try:
        fcntl.fcntl(descriptor, fcntl.F_SETFL, flags | direct if wanted else flags & ~direct)
    except OSError:
        return False
    return bool(direct)

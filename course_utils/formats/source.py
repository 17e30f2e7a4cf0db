"""A stretch of an open file, read as if it were a file of its own."""

import errno
import io
import os
from typing import Any


class Window(io.BufferedReader):
    """Bytes ``start`` to ``start + size`` of a file, for reading only.

    ``read(n)`` never makes room for more than there is, whatever a hostile file says that n is.

    Args:
        fd: file descriptor; its own position is neither used nor changed.
        start: first byte of the window in the file.
        size: bytes in the window.
    """

    def __init__(self, fd: int, start: int, size: int) -> None:
        super().__init__(_Raw(fd, start, size))
        self.fd, self.start, self.size = fd, start, size

    def read(self, size: int | None = -1, /) -> bytes:
        """Read up to ``size`` bytes; all that are left if it is negative or None."""
        left = max(0, self.size - self.tell())
        return super().read(left if size is None or size < 0 else min(size, left))

    def everything(self) -> bytes:
        """Return all its bytes."""
        return os.pread(self.fd, self.size, self.start)

    def part(self, start: int, size: int) -> "Window":
        """Return a window on a part of this one."""
        start = min(start, self.size)
        return Window(self.fd, self.start + start, min(size, self.size - start))


class _Raw(io.RawIOBase):
    def __init__(self, fd: int, start: int, size: int) -> None:
        self.fd, self.start, self.size = fd, start, size
        self.position = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self.position

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self.position, io.SEEK_END: self.size}[whence]
        if base + offset < 0:
            raise OSError(errno.EINVAL, "before the start")
        self.position = base + offset
        return self.position

    def readinto(self, buffer: Any, /) -> int:
        count = max(0, min(len(buffer), self.size - self.position))
        read = os.preadv(self.fd, [memoryview(buffer)[:count]], self.start + self.position)
        self.position += read
        return read


class Memory(io.BytesIO):
    """Bytes with the methods of a `Window`."""

    def __init__(self, data: bytes) -> None:
        super().__init__(data)
        self.size = len(data)

    def everything(self) -> bytes:
        """Return all its bytes."""
        return self.getvalue()

    def part(self, start: int, size: int) -> "Memory":
        """Return a copy of a part."""
        return Memory(self.getvalue()[start : start + size])


Source = Window | Memory

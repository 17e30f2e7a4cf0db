"""Bytes to read from: a file, a part of one, or memory.

Readers ask for little: how many bytes there are, and some of them. So they run where files cannot
be opened, in a browser for example. What opens real files is `course_utils.files.open_file`.
"""

import errno
import io
from typing import Any, Protocol

BUFFER = 8 << 10  # bytes; Python's own 128 KiB, one a tensor, are too many for a browser


class Source(Protocol):
    """Bytes that can be read in any order."""

    @property
    def size(self) -> int:
        """How many there are."""
        ...

    def read_at(self, position: int, count: int, /) -> bytes:
        """Return ``count`` bytes from ``position`` on; fewer only where the source ends.

        Raises:
            OSError: the disk cannot read them.
        """
        ...


class Window(io.BufferedReader):
    """A stretch of a source, read as if it were a file of its own; a source itself.

    ``read(n)`` never makes room for more than there is, whatever a hostile file says that n is.

    Args:
        source: is read; its own position, where it has one, is neither used nor changed.
        start: first byte of the window in the source.
        size: bytes in the window; None for all that follow.
    """

    def __init__(self, source: Source, start: int = 0, size: int | None = None) -> None:
        self.size = max(0, source.size - start) if size is None else size
        self._source, self._start = source, start
        super().__init__(_Raw(self), max(1, min(self.size, BUFFER)))

    def read(self, size: int | None = -1, /) -> bytes:
        """Read up to ``size`` bytes; all that are left if it is negative or None."""
        left = max(0, self.size - self.tell())
        return super().read(left if size is None or size < 0 else min(size, left))

    def read_at(self, position: int, count: int, /) -> bytes:
        """Return bytes of the window, see `Source`."""
        count = max(0, min(count, self.size - position))
        return self._source.read_at(self._start + position, count) if count else b""

    def everything(self) -> bytes:
        """Return all its bytes."""
        return self.read_at(0, self.size)

    def part(self, start: int, size: int) -> "Window":
        """Return a window on a part of this one."""
        start = min(start, self.size)
        return Window(self._source, self._start + start, min(size, self.size - start))


class Memory(Window):
    """Bytes in memory, as a window."""

    def __init__(self, data: bytes) -> None:
        super().__init__(_Bytes(data))


class _Bytes:
    def __init__(self, data: bytes) -> None:
        self._data, self.size = data, len(data)

    def read_at(self, position: int, count: int, /) -> bytes:
        return self._data[position : position + count]


class _Raw(io.RawIOBase):
    def __init__(self, window: Window) -> None:
        self._window, self._position = window, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._window.size}
        if base[whence] + offset < 0:
            raise OSError(errno.EINVAL, "before the start")
        self._position = base[whence] + offset
        return self._position

    def readinto(self, buffer: Any, /) -> int:
        data = self._window.read_at(self._position, len(buffer))
        buffer[: len(data)] = data
        self._position += len(data)
        return len(data)

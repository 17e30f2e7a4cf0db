"""Messages through a pipe or socket: eight bytes of length, then that many bytes."""

import os
import select
import time
from collections.abc import Iterator

CHUNK = 2**20


class PipeClosedError(EOFError):
    """The other side is gone, or said nothing in time."""


def frame(data: bytes) -> bytes:
    """Return a message as it goes through the pipe."""
    return len(data).to_bytes(8, "little") + data


def send(fd: int, data: bytes) -> None:
    """Write one frame."""
    view = memoryview(frame(data))
    while view:
        view = view[os.write(fd, view) :]


def receive(fd: int, limit: int, seconds: float | None = None) -> bytes:
    """Read one frame.

    Args:
        fd: where from.
        limit: the most bytes to accept.
        seconds: how long to wait for all of it; forever by default.

    Raises:
        PipeClosedError: the pipe ended or was silent for too long, or the frame is too large.
    """
    deadline = None if seconds is None else time.monotonic() + seconds
    size = int.from_bytes(_read(fd, 8, deadline), "little")
    if size > limit:
        raise PipeClosedError(f"a frame of {size:,} bytes; at most {limit:,} are accepted")
    return _read(fd, size, deadline)


def split(data: bytes) -> Iterator[bytes]:
    """Yield the whole frames in some bytes; a last, torn one is left out."""
    start = 0
    while start + 8 <= len(data):
        stop = start + 8 + int.from_bytes(data[start : start + 8], "little")
        if stop > len(data):
            return
        yield data[start + 8 : stop]
        start = stop


def take(buffer: bytearray) -> bytes | None:
    """Remove the whole frame at a buffer's beginning and return it, if there is one."""
    stop = 8 + int.from_bytes(buffer[:8], "little")
    if stop > len(buffer):
        return None
    data = bytes(buffer[8:stop])
    del buffer[:stop]
    return data


def _read(fd: int, size: int, deadline: float | None) -> bytes:
    parts = bytearray()
    while len(parts) < size:
        left = None if deadline is None else max(0.0, deadline - time.monotonic())
        if not select.select([fd], [], [], left)[0]:
            raise PipeClosedError("no answer in time")
        part = os.read(fd, min(size - len(parts), CHUNK))
        if not part:
            raise PipeClosedError("the other side closed the pipe")
        parts += part
    return bytes(parts)

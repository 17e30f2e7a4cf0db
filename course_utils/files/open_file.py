"""Open a file once, and read it in any order: what is checked is what is used."""

import errno
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import ClassVar, Self

from course_utils.errors import (
    CheckpointError,
    MissingCheckpointError,
    NotACheckpointError,
    UnreadableCheckpointError,
)


class OpenFile:
    """An open file to read from. It stays the same file when another takes its name.

    Closed at the end of a ``with`` block, or with the last reference to it.

    Args:
        path: of a regular file.

    Attributes:
        size: in bytes, when it was opened.
        identity: device, inode, size and time of the last change, when it was opened.
        kept: its content, once it is kept in memory.

    Raises:
        MissingCheckpointError: there is no such file.
        NotACheckpointError: it is a folder, a pipe or a device.
        UnreadableCheckpointError: the system does not let it be opened.
    """

    # Told how many bytes were read, by any thread: what a command shows while it works.
    watch: ClassVar[Callable[[int], None]] = lambda count: None

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._descriptor = -1
        self.kept: memoryview | None = None
        self.path = Path(path)
        try:
            # A pipe would wait for a writer: without waiting it opens, and is refused.
            self._descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except ValueError:
            raise MissingCheckpointError(f"{str(path)!r}: no name can hold a NUL byte.") from None
        except OSError as error:
            raise system_error(self.path, error) from error
        status = os.fstat(self._descriptor)
        if stat.S_ISDIR(status.st_mode):
            raise NotACheckpointError(f"{path} is a folder; name a file in it.")
        if not stat.S_ISREG(status.st_mode):
            raise NotACheckpointError(f"{path} is a pipe or device, not a file.")
        self.size = status.st_size
        self.identity = self._identity()

    @property
    def closed(self) -> bool:
        """Whether the descriptor is given back."""
        return self._descriptor < 0

    def fileno(self) -> int:
        """Return the descriptor; its own position is neither used nor changed."""
        return self._descriptor

    def changed(self) -> bool:
        """Whether somebody has written to it since it was opened, by its size and its time.

        What is kept in memory stays as it was read.
        """
        return self.kept is None and self._identity() != self.identity

    def keep(self, memory: memoryview) -> None:
        """Read the whole file into memory, of its size: what is read from now on comes from there.

        A file that is shorter now is not kept.
        """
        if self.read_into(memory, 0) == len(memory):
            self.kept = memory

    def read_at(self, position: int, count: int, /) -> bytes:
        """Return bytes, see `formats.source.Source`."""
        if self.kept is not None:
            return bytes(self.kept[position : position + count])
        data = os.pread(self._descriptor, count, position)
        OpenFile.watch(len(data))
        if len(data) == count or not data:
            return data
        parts = [data]  # one call returns at most 2 GiB
        while data and (count := count - len(data)):
            position += len(data)
            data = os.pread(self._descriptor, count, position)
            OpenFile.watch(len(data))
            parts.append(data)
        return b"".join(parts)

    def read_into(self, memory: memoryview, position: int) -> int:
        """Fill memory from the file; return how many bytes came, fewer only at its end."""
        done = 0
        while done < len(memory):
            count = os.preadv(self._descriptor, [memory[done:]], position + done)
            if not count:
                break
            OpenFile.watch(count)
            done += count
        return done

    def close(self) -> None:
        """Close the file; again does no harm."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)

    def _identity(self) -> tuple[int, int, int, int]:
        status = os.fstat(self._descriptor)
        return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __del__(self) -> None:
        self.close()


def system_error(path: Path, error: OSError) -> CheckpointError:
    """Say what an operating system's error means for a reader, and what to do."""
    if error.errno == errno.ENOENT:
        if path.is_symlink():
            there = os.readlink(path)
            return MissingCheckpointError(f"{path}: is a link to {there}, which is not there.")
        return MissingCheckpointError(f"{path}: there is no such file.")
    advice = {
        errno.EACCES: "Check the owner with `ls -l`.",
        errno.ENOTDIR: f"{path.parent} is not a folder.",
        errno.ELOOP: "It is a symbolic link that leads back to itself.",
    }.get(error.errno or 0, "The file itself may be sound.")
    return UnreadableCheckpointError(f"{path}: cannot be read: {error.strerror}. {advice}")

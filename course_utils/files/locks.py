"""Advisory locks (``flock``) on open files: who is alive, who is reading.

The system drops a lock when its file is closed or its process dies, so none goes stale. A forked
child shares its parent's open files, and with them their locks: it gives them up at once, or
the workers of a `DataLoader` would keep every file that was locked when they started.

Not every file system has locks (Lustre without ``-o flock``, some FUSE ones). Then the answer
to "does anybody hold it?" is neither yes nor no, but None.
"""

import errno
import fcntl
import os
import threading
import time
import weakref
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO, Protocol, TypeVar

PATIENCE = 100  # tries to get a lock, a hundredth of a second apart
TAKEN = (errno.EWOULDBLOCK, errno.EAGAIN, errno.EACCES)  # by somebody else


class OpenFile(Protocol):
    """A file or anything else with a descriptor, for as long as it is not closed."""

    @property
    def closed(self) -> bool:
        """Whether the descriptor is given back."""
        ...

    def fileno(self) -> int:
        """Return the descriptor."""
        ...


File = TypeVar("File", bound=OpenFile)


def lock_alone(file: OpenFile) -> bool | None:
    """Take the exclusive lock; False if anybody else holds one, None where there are no locks."""
    return _lock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


def wait_alone(file: OpenFile) -> bool | None:
    """Wait for the exclusive lock; None where there are no locks."""
    return _lock(file, fcntl.LOCK_EX)


def lock_shared(file: OpenFile) -> bool | None:
    """Take a shared lock; False if somebody holds it alone, None where there are no locks."""
    return _lock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)


def not_for_children(open_file: Callable[[], File]) -> File:
    """Open a file that is to be locked so that no forked child will have it.

    A child that is forked between the opening and the note of it would keep the file, and with
    it the lock: so forks wait for the two.
    """
    with _forking:
        file = open_file()
        _kept_from_children.add(file)
        return file


def nobody_holds(path: Path) -> bool | None:
    """Whether a file can be opened and nobody has locked it; None where there are no locks."""
    try:
        with open_to_lock(path) as file:
            return lock_alone(file)
    except OSError:
        return False


def open_to_lock(path: Path) -> BinaryIO:
    """Open a file for `lock_alone`, and change nothing in it.

    NFS takes an exclusive lock on a file that is open for writing, and on no other.
    """
    try:
        return not_for_children(lambda: open(path, "r+b", buffering=0))
    except PermissionError:
        return not_for_children(lambda: open(path, "rb", buffering=0))


class Hold:
    """A shared lock on a file or folder, held until this object is closed or gone.

    If somebody holds it alone it is waited for, a second at most: who takes a lock alone looks
    whether anybody else is there, and lets go at once.

    Args:
        path: an existing file or folder.

    Attributes:
        works: whether this file system has locks.

    Raises:
        OSError: it cannot be opened.
    """

    _descriptor = -1

    def __init__(self, path: Path) -> None:
        self._path = path
        not_for_children(self._open)
        for _ in range(PATIENCE):
            answer = lock_shared(self)
            if answer is not False:
                break
            time.sleep(0.01)
        self.works = answer is not None

    def _open(self) -> "Hold":
        self._descriptor = os.open(self._path, os.O_RDONLY)
        return self

    def alone(self) -> bool | None:
        """Make the lock exclusive; False if somebody else holds it too, None without locks."""
        return lock_alone(self)

    @property
    def closed(self) -> bool:
        """Whether the lock is given back."""
        return self._descriptor < 0

    def fileno(self) -> int:
        """Return the descriptor, while the lock is held."""
        return self._descriptor

    def close(self) -> None:
        """Give the lock back; a second call does nothing."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)

    __del__ = close

    def __enter__(self) -> "Hold":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


_forking = threading.RLock()
_kept_from_children: "weakref.WeakSet[OpenFile]" = weakref.WeakSet()


def _lock(file: OpenFile, kind: int) -> bool | None:
    try:
        fcntl.flock(file.fileno(), kind)
    except OSError as error:
        return False if error.errno in TAKEN else None
    return True


def _give_up_in_child() -> None:
    """Let go of the parent's locks. The numbers stay taken: closing them closes no other file."""
    nothing = os.open(os.devnull, os.O_RDONLY)
    for file in list(_kept_from_children):
        with suppress(OSError, ValueError):
            if not file.closed:
                os.dup2(nothing, file.fileno(), inheritable=False)
    os.close(nothing)
    _forking.release()


os.register_at_fork(
    before=_forking.acquire, after_in_parent=_forking.release, after_in_child=_give_up_in_child
)

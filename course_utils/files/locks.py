"""Advisory locks (``flock``) on open files: who is alive, who is reading.

The system drops a lock when its file is closed or its process dies, so none goes stale.
On a file system without locks everything works but the protection they give.
"""

import fcntl
import os
from contextlib import suppress
from pathlib import Path


def lock_alone(descriptor: int) -> bool:
    """Take the exclusive lock on an open file; False if anybody else holds one."""
    return _lock(descriptor, fcntl.LOCK_EX)


def wait_alone(descriptor: int) -> None:
    """Wait for the exclusive lock on an open file; where there are no locks, go on without."""
    with suppress(OSError):
        fcntl.flock(descriptor, fcntl.LOCK_EX)


def lock_shared(descriptor: int) -> bool:
    """Take a shared lock on an open file; False if somebody holds it alone."""
    return _lock(descriptor, fcntl.LOCK_SH)


def _lock(descriptor: int, kind: int) -> bool:
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


class Hold:
    """A shared lock on a file or folder, held until this object is closed or gone.

    Args:
        path: an existing file or folder.
    """

    def __init__(self, path: Path) -> None:
        self._descriptor = os.open(path, os.O_RDONLY)
        lock_shared(self._descriptor)

    def alone(self) -> bool:
        """Make the lock exclusive; False if somebody else holds it too."""
        return lock_alone(self._descriptor)

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

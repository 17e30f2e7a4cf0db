"""Replace a file so that a crash at any moment leaves the old one or the new one, whole.

The steps, in this order, and what happens without each:

1. write to a temporary file in the same folder: else a crash leaves half a file in place;
2. fsync it: else the rename can reach the disk before the data, and a power cut leaves zeros;
3. ``os.replace``: the one step that is atomic; it needs source and target on one file system;
4. fsync the folder: else the rename itself can be lost.

Needs a POSIX system. On macOS, fsync leaves the data in the disk's own memory: there it takes
``F_FULLFSYNC`` (fsync(2) of macOS). The order is the one of
https://lwn.net/Articles/457667/ (J. Edge, "Ensuring data reaches disk", 2011).
"""

import errno
import fcntl
import os
import secrets
import shutil
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import BinaryIO

from course_utils.errors import CheckpointWriteError
from course_utils.files.locks import lock_alone, not_for_children, open_to_lock, wait_alone
from course_utils.files.notices import say_once

PREFIX, SUFFIX = ".saving-", ".tmp"
DEAD = 24 * 3600  # seconds without a write: without locks, the writer is taken for dead
CANNOT = (errno.EINVAL, errno.ENOTSUP, errno.ENOSYS, errno.ENOTTY)  # not here, whatever is tried


def write_atomically(
    path: str | os.PathLike[str], write: Callable[[BinaryIO], object], *, size: int | None = None
) -> None:
    """Write a file so that a crash leaves the old content or the new one, never a mixture.

    Temporary files that killed writers left in the folder are removed. If ``path`` is a
    symbolic link, the file it points to is replaced.

    Args:
        path: the file to create or replace; its folder must exist.
        write: writes the content to the open file it is given.
        size: the content's bytes, where known, for the message about a full disk.

    Raises:
        CheckpointWriteError: nothing was written and the old file is untouched; the message
            says why and what to do. ``__cause__`` is the operating system's own error.
    """
    if "\0" in os.fsdecode(path):
        raise CheckpointWriteError(f"{os.fsdecode(path)!r}: no file name can hold a NUL byte.")
    target = Path(os.path.realpath(path))
    with _explained(target, size):
        _refuse_unwritable(target)
        _remove_left_behind(target.parent)
        with _temporary_sibling(target) as (file, temporary):
            write(file)
            file.flush()
            flush(file.fileno())
            os.replace(temporary, target)
    _sync_folder_of(target)


def flush(descriptor: int) -> None:
    """Bring an open file to the disk, as far as the system can.

    Raises:
        OSError: it failed.
    """
    full = getattr(fcntl, "F_FULLFSYNC", None)
    if full is not None:
        try:
            fcntl.fcntl(descriptor, full)
        except OSError as error:
            if error.errno not in CANNOT:
                raise
        else:
            return
    os.fsync(descriptor)


def sync_folder(folder: Path) -> None:
    """Bring the names in a folder to the disk: what was created, replaced, moved or removed.

    Raises:
        OSError: it failed.

    Warns:
        UserWarning: the file system cannot do it for a folder; said once.
    """
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        flush(descriptor)
    except OSError as error:
        if error.errno not in CANNOT:
            raise
        say_once(
            folder,
            f"this file system cannot flush a folder ({error.strerror}). Files are written and "
            "flushed, but a power cut may bring back the one that was replaced last.",
            stacklevel=5,
        )
    finally:
        os.close(descriptor)


@contextmanager
def _temporary_sibling(target: Path) -> Iterator[tuple[BinaryIO, Path]]:
    """Create and lock a temporary file beside the target; remove it if the body fails."""
    temporary = None
    try:
        while True:
            temporary = target.parent / f"{PREFIX}{secrets.token_hex(8)}{SUFFIX}"
            file = not_for_children(partial(_created, temporary))
            # The lock tells a living writer's file from a dead one's. Between creation and lock
            # another writer may have taken it for dead: then it is gone, and we try again.
            wait_alone(file)
            if temporary.exists():
                break
            file.close()
        with file:
            _keep_mode(file, target)
            yield file, temporary
    except BaseException:
        if temporary is not None:
            with suppress(OSError):
                temporary.unlink()
        raise


def _created(path: Path) -> BinaryIO:
    return open(path, "xb")


def _remove_left_behind(folder: Path) -> None:
    """Remove the temporary files of writers that died: nobody holds their lock."""
    for temporary in folder.glob(f"{PREFIX}*{SUFFIX}"):
        with suppress(OSError), open_to_lock(temporary) as file:
            free = lock_alone(file)
            if free is None:  # no locks here
                free = time.time() - temporary.stat().st_mtime > DEAD
            if free:
                temporary.unlink()


def _refuse_unwritable(target: Path) -> None:
    """Raise what a plain ``open(target, "wb")`` would, but without touching the file."""
    with suppress(FileNotFoundError):
        mode = target.lstat().st_mode
        if stat.S_ISDIR(mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        if stat.S_ISLNK(mode):  # all others have been followed
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
        if not stat.S_ISREG(mode):
            raise OSError(errno.EINVAL, "it is a device, pipe or socket, not a file")
        if not os.access(target, os.W_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))


def _keep_mode(file: BinaryIO, target: Path) -> None:
    with suppress(OSError):
        os.fchmod(file.fileno(), stat.S_IMODE(target.stat().st_mode))


def _sync_folder_of(target: Path) -> None:
    try:
        sync_folder(target.parent)
    except OSError as error:
        raise CheckpointWriteError(
            f"{target}: the new file is in place and whole, but its folder could not be flushed "
            f"({error.strerror}): a power cut now may bring back the old file. Save again."
        ) from error


@contextmanager
def _explained(target: Path, size: int | None) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        kept = "; the file that was there is untouched" if _exists(target) else ""
        reason = _reason(error, target, size)
        raise CheckpointWriteError(f"{target}: not saved{kept}. {reason}") from error


def _exists(target: Path) -> bool:
    try:
        return target.is_file()
    except OSError:
        return False


def _reason(error: OSError, target: Path, size: int | None) -> str:
    """Say what an operating system's error means for a save, and what to do."""
    code = error.errno
    if code == errno.ENOSPC:
        return f"The disk is full: {_room(target.parent, size)}. Free some space."
    if code == errno.EDQUOT:
        return "Your disk quota is used up. Delete files or ask for more."
    if code == errno.EFBIG:
        return "The file is larger than this process or file system allows (see `ulimit -f`)."
    if code == errno.EROFS:
        return "The file system is read-only. Save elsewhere."
    if code in (errno.EACCES, errno.EPERM):
        return f"No permission to write there ({error.strerror}). Check the owner with `ls -ld`."
    if code == errno.ELOOP:
        return "It is a symbolic link that leads back to itself. Remove it, or name a file."
    if code == errno.ENAMETOOLONG:
        return "The file name is too long for this file system. Choose a shorter one."
    if code == errno.EISDIR:
        return "It is a folder. Add a file name."
    if code in (errno.ENOENT, errno.ENOTDIR):
        return f"There is no folder {target.parent}. Create it first, or find out who removed it."
    if code == errno.EIO:
        return "The disk reported an input/output error. Save elsewhere and check the disk."
    return f"The system says: {error.strerror or error}."


def _room(folder: Path, size: int | None) -> str:
    needed = f"{size:,} bytes needed, " if size else ""
    with suppress(OSError):
        return f"{needed}{shutil.disk_usage(folder).free:,} bytes free"
    return f"{needed}free bytes unknown"

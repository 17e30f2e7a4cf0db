"""Write a file that was not there: what stands at its name is not replaced unasked."""

import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import BinaryIO

from course_utils.errors import CheckpointWriteError
from course_utils.files.durable import write_atomically


def write_new(
    path: str | os.PathLike[str],
    write: Callable[[BinaryIO], object],
    *,
    sources: Iterable[str | os.PathLike[str]],
    overwrite: bool = False,
    size: int | None = None,
) -> Path:
    """Write a file durably, see `durable.write_atomically`; what ``write`` raises stops it.

    Args:
        path: the file to create.
        write: writes the content to the open file it is given. It may read it back from
            ``file.name``: the file takes its name afterwards.
        sources: what is read to write it. Never replaced.
        overwrite: replace what stands at the path.
        size: the content's bytes, where known.

    Returns:
        The path.

    Raises:
        CheckpointWriteError: nothing was written.
    """
    refuse_existing(path, sources, overwrite=overwrite)
    write_atomically(path, write, size=size)
    return Path(path)


def refuse_existing(
    path: str | os.PathLike[str],
    sources: Iterable[str | os.PathLike[str]],
    *,
    overwrite: bool = False,
) -> None:
    """Raise CheckpointWriteError if a file must not be written at this path."""
    if not os.path.lexists(path):
        return
    for source in sources:
        if os.path.exists(path) and os.path.exists(source) and os.path.samefile(path, source):
            raise CheckpointWriteError(
                f"{path}: not written. It is the file that is read, which would be lost. Write to "
                "another name."
            )
    if not overwrite:
        raise CheckpointWriteError(
            f"{path}: not written. It exists already. Write to another name, or ask for it to be "
            "replaced: --force on the command line, overwrite=True in Python."
        )

"""Asks before a file is replaced: whether its owner wants that, and whether it is the source."""

import os

from course_utils.errors import CheckpointWriteError


def require_free(
    out: str | os.PathLike[str], source: str | os.PathLike[str], overwrite: bool
) -> None:
    """Check that ``out`` may be written.

    Args:
        out: the file to write.
        source: what it is made from; never written over, by whatever name.
        overwrite: whether another file may be replaced.

    Raises:
        CheckpointWriteError: it may not be; nothing was written.
    """
    try:
        same = os.path.samefile(out, source)
    except OSError:  # one of them is not there
        same = False
    if same:
        raise CheckpointWriteError(
            f"{out} is the file that is read: it would be lost. Write to another name."
        )
    if not overwrite and os.path.lexists(out):
        raise CheckpointWriteError(
            f"{out} exists. Write to another name, or ask for it to be replaced: "
            "--force on the command line, overwrite=True in Python."
        )

"""Say once what a file system cannot do."""

import os
import warnings
from pathlib import Path

_said: set[tuple[str, str]] = set()


def say_once(folder: str | os.PathLike[str], message: str, *, stacklevel: int = 2) -> None:
    """Warn about a folder, once in a process.

    Args:
        folder: the one that the message is about; it comes first.
        message: what is missing, what follows, what to do.
        stacklevel: as for ``warnings.warn``, counted from the caller.
    """
    key = (str(Path(folder).absolute()), message)
    if key not in _said:
        _said.add(key)
        warnings.warn(f"{folder}: {message}", stacklevel=stacklevel + 1)

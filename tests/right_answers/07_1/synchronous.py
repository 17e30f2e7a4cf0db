"""Opens the file so that each write waits for the disk."""

import os
from pathlib import Path


def save(path, data):
    path = Path(path)
    new = path.with_name(path.name + ".new")
    fd = os.open(new, os.O_CREAT | os.O_WRONLY | os.O_TRUNC | os.O_SYNC, 0o644)
    try:
        with os.fdopen(fd, "wb") as file:
            file.write(data)
        os.rename(new, path)
    except BaseException:
        os.unlink(new)
        raise
    folder = os.open(path.parent, os.O_RDONLY)
    os.fsync(folder)
    os.close(folder)

"""Lets the system write everything, before and after the rename."""

import os
import tempfile
from pathlib import Path


def save(path, data):
    path = Path(path)
    fd, name = tempfile.mkstemp(dir=path.parent)
    try:
        with os.fdopen(fd, "wb") as file:
            file.write(data)
            file.flush()
            os.sync()
        os.replace(name, path)
    except BaseException:
        os.unlink(name)
        raise
    os.sync()

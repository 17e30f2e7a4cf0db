"""Forgets Python's own buffer: fsync comes before the bytes do."""

import os

MESSAGE = "flush and fsync it first"


def save(path, data):
    temporary = str(path) + ".tmp"
    try:
        with open(temporary, "wb") as file:
            file.write(data)
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError:
        os.remove(temporary)
        raise
    os.fsync(os.open(os.path.dirname(path), os.O_RDONLY))

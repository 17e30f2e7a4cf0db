"""Renames without fsync, as most libraries do."""

import os

MESSAGE = "flush and fsync it first"


def save(path, data):
    temporary = str(path) + ".tmp"
    with open(temporary, "wb") as file:
        file.write(data)
    try:
        os.fsync(os.open(os.path.dirname(path), os.O_RDONLY))
        os.replace(temporary, path)
    except OSError:
        os.remove(temporary)
        raise

"""Leaves the folder to the operating system."""

import os

MESSAGE = "fsync the folder after it"
CREDIT = 0.5


def save(path, data):
    temporary = str(path) + ".tmp"
    try:
        with open(temporary, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError:
        os.remove(temporary)
        raise

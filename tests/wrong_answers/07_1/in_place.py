"""Writes over the old file."""

import os

MESSAGE = "the old file was not left whole"


def save(path, data):
    with open(path, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    os.replace(path, path)

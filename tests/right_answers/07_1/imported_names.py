"""Takes the functions by name when it is defined."""

from os import O_RDONLY, close, fsync, replace, unlink
from os import open as open_folder
from pathlib import Path


def save(path, data):
    path = Path(path)
    new = path.with_name(path.name + ".new")
    try:
        with new.open("wb") as file:
            file.write(data)
            file.flush()
            fsync(file)
        replace(new, path)
    except BaseException:
        unlink(new)
        raise
    folder = open_folder(path.parent, O_RDONLY)
    fsync(folder)
    close(folder)

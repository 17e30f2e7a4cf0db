"""Makes room for the new file by removing the old one."""

import os

MESSAGE = "the old file was not left whole"


def save(path, data):
    temporary = str(path) + ".tmp"
    if os.path.exists(path):
        os.remove(path)
    try:
        with open(temporary, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError:
        os.remove(temporary)
        raise
    os.fsync(os.open(os.path.dirname(path), os.O_RDONLY))

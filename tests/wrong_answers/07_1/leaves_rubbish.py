"""Does not tidy up after an error."""

import os

MESSAGE = "A temporary file stays"
CREDIT = 0.5


def save(path, data):
    temporary = str(path) + ".tmp"
    with open(temporary, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)
    os.fsync(os.open(os.path.dirname(path), os.O_RDONLY))

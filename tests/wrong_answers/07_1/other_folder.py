"""Takes the system's folder for temporary files."""

import os
import tempfile

MESSAGE = "lies in another folder"


def save(path, data):
    descriptor, temporary = tempfile.mkstemp()
    try:
        with open(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError:
        os.remove(temporary)
        raise
    os.fsync(os.open(os.path.dirname(path), os.O_RDONLY))

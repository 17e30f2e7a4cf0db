"""Reference answer of exercise 07.1."""

import os
from pathlib import Path


def save(path: Path, data: bytes) -> None:
    """Write bytes to a file so that a crash at any moment does no harm."""
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        with open(temporary, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)  # mutant: equivalent
        raise
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)  # mutant: equivalent

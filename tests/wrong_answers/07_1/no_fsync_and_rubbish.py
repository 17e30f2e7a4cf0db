"""Does not fsync, and leaves a file behind as well: the worse fault counts."""

import os
from pathlib import Path

MESSAGE = "before all its bytes are on the disk"


def save(path, data):
    temporary = path.with_suffix(".new")
    temporary.write_bytes(data)
    os.replace(temporary, path)
    Path(f"{path}.left").touch()

"""Expects the archive's folder to be named like the file."""

import pickletools
import zipfile
from pathlib import Path

MESSAGE = "It raised an error. KeyError"


def imports(path):
    with zipfile.ZipFile(path) as archive:
        data = archive.read(f"{Path(path).stem}/data.pkl")
    found = (argument for op, argument, _ in pickletools.genops(data) if op.name == "GLOBAL")
    return {argument.replace(" ", ".") for argument in found}

"""Looks for GLOBAL and does not know protocol 4."""

import pickletools
import zipfile

MESSAGE = "collections.Counter is imported too"


def imports(path):
    with zipfile.ZipFile(path) as archive:
        name = next(n for n in archive.namelist() if n.endswith("data.pkl"))
        data = archive.read(name)
    found = (argument for op, argument, _ in pickletools.genops(data) if op.name == "GLOBAL")
    return {argument.replace(" ", ".") for argument in found}

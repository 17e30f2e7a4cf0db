"""Searches the bytes for what looks like an import, and takes a text for one."""

import re
import zipfile

MESSAGE = "system.exec is in your set, but the pickle does not import it"


def imports(path):
    with zipfile.ZipFile(path) as archive:
        name = next(n for n in archive.namelist() if n.endswith("data.pkl"))
        data = archive.read(name)
    found = re.findall(rb"c([a-zA-Z_][\w.]*)\n([\w.]+)\n", data)
    return {f"{module.decode()}.{attribute.decode()}" for module, attribute in found}

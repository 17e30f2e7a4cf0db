"""Keeps the archive's prefix."""

import zipfile

MESSAGE = "Leave out the archive's prefix"
CREDIT = 0.5


def damaged_records(path):
    found = []
    try:
        with zipfile.ZipFile(path) as archive:
            for name in sorted(archive.namelist()):
                try:
                    archive.read(name)
                except zipfile.BadZipFile:
                    found.append(name)
    except zipfile.BadZipFile:
        return ["directory"]
    return found

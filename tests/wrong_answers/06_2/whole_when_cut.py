"""Finds no damage where there is no directory."""

import zipfile

MESSAGE = "The file was cut off"


def damaged_records(path):
    found = []
    try:
        with zipfile.ZipFile(path) as archive:
            for name in archive.namelist():
                try:
                    archive.read(name)
                except zipfile.BadZipFile:
                    found.append(name.split("/", 1)[1])
    except zipfile.BadZipFile:
        pass
    return sorted(found)

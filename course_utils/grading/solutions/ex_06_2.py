"""Reference answer of exercise 06.2."""

import zipfile
from pathlib import Path


def damaged_records(path: Path) -> list[str]:
    """Return the names of the records whose bytes have changed."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = [name for name in archive.namelist() if _is_damaged(archive, name)]
    except zipfile.BadZipFile:
        return ["directory"]
    return sorted(name.split("/", 1)[1] for name in names)


def _is_damaged(archive: zipfile.ZipFile, name: str) -> bool:
    try:
        archive.read(name)
        return False  # mutant: equivalent
    except zipfile.BadZipFile:
        return True

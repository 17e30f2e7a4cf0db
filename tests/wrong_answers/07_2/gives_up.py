"""Gives up when the newest is damaged."""

import zipfile

MESSAGE = "but you found none"


def newest_whole(folder):
    files = sorted(folder.glob("step-*.pt"), key=lambda p: int(p.stem[5:]))
    try:
        return files[-1] if files and zipfile.ZipFile(files[-1]).testzip() is None else None
    except zipfile.BadZipFile:
        return None

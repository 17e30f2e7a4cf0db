"""Asks whether the files are there, not how long they are."""

import json

MESSAGE = "not whole: file cut"


def newest_committed(folder):
    for path in sorted(folder.glob("step-*"), key=lambda path: -int(path.name[5:])):
        try:
            files = json.loads((path / "commit.json").read_text())["files"]
            if all((path / name).exists() for name in files):
                return path
        except (ValueError, FileNotFoundError):
            pass
    return None

"""Sorts names as texts."""

import json

MESSAGE = "There is a newer committed checkpoint"


def newest_committed(folder):
    for path in sorted(folder.glob("step-*"), reverse=True):
        try:
            files = json.loads((path / "commit.json").read_text())["files"]
            if all((path / name).stat().st_size == size for name, size in files.items()):
                return path
        except (ValueError, FileNotFoundError):
            pass
    return None

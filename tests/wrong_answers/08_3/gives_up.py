"""Looks at the newest only."""

import json

MESSAGE = "but you found none"


def newest_committed(folder):
    steps = sorted(folder.glob("step-*"), key=lambda path: int(path.name[5:]))
    try:
        files = json.loads((steps[-1] / "commit.json").read_text())["files"]
        whole = all((steps[-1] / name).stat().st_size == size for name, size in files.items())
        return steps[-1] if whole else None
    except (ValueError, FileNotFoundError, IndexError):
        return None

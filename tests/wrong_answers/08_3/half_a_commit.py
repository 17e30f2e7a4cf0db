"""Falls over half a commit file."""

import json

MESSAGE = "It raised an error"


def newest_committed(folder):
    for path in sorted(folder.glob("step-*"), key=lambda path: -int(path.name[5:])):
        if (path / "commit.json").exists():
            files = json.loads((path / "commit.json").read_text())["files"]
            there = all((path / name).exists() for name in files)
            if there and all((path / name).stat().st_size == size for name, size in files.items()):
                return path
    return None

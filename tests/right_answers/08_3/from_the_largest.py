"""Goes down from the largest step and checks file by file."""

import json


def newest_committed(folder):
    for path in sorted(folder.glob("step-*"), key=lambda p: -int(p.name.split("-")[1])):
        commit = path / "commit.json"
        if not commit.is_file():
            continue
        try:
            files = json.loads(commit.read_bytes())["files"]
        except ValueError:
            continue
        sizes = {file.name: file.stat().st_size for file in path.iterdir()}
        if all(sizes.get(name) == size for name, size in files.items()):
            return path
    return None

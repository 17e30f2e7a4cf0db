"""Reference answer of exercise 08.3."""

import json
from pathlib import Path


def newest_committed(folder: Path) -> Path | None:
    """Return the newest folder that holds a whole checkpoint, or None."""
    newest_first = sorted(folder.glob("step-*"), key=_step, reverse=True)
    return next((path for path in newest_first if _is_committed(path)), None)


def _step(path: Path) -> int:
    return int(path.name.removeprefix("step-"))


def _is_committed(folder: Path) -> bool:
    try:
        files = json.loads((folder / "commit.json").read_text())["files"]
        return all((folder / name).stat().st_size == size for name, size in files.items())
    except (ValueError, FileNotFoundError):
        return False  # mutant: equivalent

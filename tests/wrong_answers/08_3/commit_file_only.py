"""Looks for the commit file and not into it."""

MESSAGE = "not whole: file missing"


def newest_committed(folder):
    steps = sorted(folder.glob("step-*"), key=lambda path: -int(path.name[5:]))
    return next((path for path in steps if (path / "commit.json").exists()), None)

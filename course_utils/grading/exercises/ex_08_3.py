"""Exercise 08.3: which sharded checkpoint is committed."""

import json
from pathlib import Path
from typing import Any

from course_utils.grading.exercise import RIGHT, Case, Plain, Task, Verdict, wrong

TASK = Task(
    title="The commit point",
    difficulty="medium",
    minutes=15,
    answer="newest_committed",
    text="""
Every rank writes a file into a folder `step-8`, `step-16`, … When all have written, one rank
writes `commit.json` last: `{"files": {"rank-0.bin": 1024, …}}`, the size of every file. Without
it, or when a file is missing or has another size, the folder is not a checkpoint: somebody died
while saving.

Write `newest_committed(folder)`: the path of the committed checkpoint with the highest step, or
`None`. A `commit.json` that is not readable JSON counts as absent.
""",
    hints=(
        "Go from the highest step down, and take the first folder that passes every test.",
        "Sort by number: `int(path.name.removeprefix('step-'))`.",
        "`json.loads` raises `json.JSONDecodeError`, a `ValueError`, for half a file. A "
        "file that is missing "
        "has no size: ask `is_file()` first.",
    ),
    starter='''
def newest_committed(folder):
    """Return the newest folder that holds a whole checkpoint, or None."""
    steps = sorted(folder.glob("step-*"))
    return steps[-1] if steps else None
''',
)


def cases(seed: int) -> list[Case]:
    """Each way of being unfinished, above a step that is whole."""
    low, high = 8, 100 + seed % 50
    return [
        {"steps": {"9": "whole", "10": "whole"}},
        {"steps": {str(low): "whole", str(high): "no commit"}},
        {"steps": {str(low): "whole", str(high): "file missing"}},
        {"steps": {str(low): "whole", str(high): "file cut"}},
        {"steps": {str(low): "whole", str(high): "commit cut"}},
        {"steps": {str(low): "no commit", str(high): "file cut"}},
        {"steps": {}},
        {"steps": {"1": "whole", "2": "whole", "30": "commit cut", "4": "file missing"}},
    ]


def ask(case: Case) -> Plain:
    """Return the files of the folders."""
    files = {"run/notes.txt": b"step-99"}
    for step, kind in case["steps"].items():
        files |= {f"run/step-{step}/{name}": data for name, data in _files(kind).items()}
    return {"files": files}


def probe(answer: Any, question: Plain) -> Plain:
    """Return the name of the folder that was picked."""
    picked = answer(Path("run").absolute())
    return None if picked is None else Path(picked).name


def judge(case: Case, observed: Plain, expected: Plain) -> Verdict:
    """Say why the folder that was picked is none, or was passed over."""
    if observed == expected:
        return RIGHT
    if observed is None:
        return wrong("There is a committed checkpoint, but you found none.", expected, observed)
    kind = case["steps"].get(str(observed).removeprefix("step-"), "not a step")
    if kind == "whole":
        return wrong("There is a newer committed checkpoint.", expected, observed)
    return wrong(f"You picked a folder that is not whole: {kind}.", expected, observed)


def _files(kind: str) -> dict[str, bytes]:
    files = {f"rank-{rank}.bin": bytes(100 + rank) for rank in range(3)}
    commit = json.dumps({"files": {name: len(data) for name, data in files.items()}})
    if kind == "file missing":
        files.pop("rank-1.bin")
    if kind == "file cut":
        files["rank-2.bin"] = files["rank-2.bin"][:50]
    if kind != "no commit":
        files["commit.json"] = (commit[:-9] if kind == "commit cut" else commit).encode()
    return files

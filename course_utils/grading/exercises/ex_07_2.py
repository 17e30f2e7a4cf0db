"""Exercise 07.2: find the newest checkpoint that is whole."""

import os
from pathlib import Path
from typing import Any

import torch

from course_utils.grading.exercise import RIGHT, Case, Plain, Task, Verdict, wrong
from course_utils.grading.sandbox.parcels import saved

TASK = Task(
    title="The newest that is whole",
    difficulty="medium",
    minutes=15,
    answer="newest_whole",
    text="""
A run left checkpoints called `step-8.pt`, `step-10.pt`, … in a folder, by `torch.save`. Some may
be cut off, and in some a bit may have flipped. Write `newest_whole(folder)`: the path of the
checkpoint with the highest step whose every record is as it was saved, or `None` if there is none.

Other files may lie in the folder. Files copied from another disk have times that mean nothing.
""",
    hints=(
        "Sorting texts puts `step-10` before `step-8`. And `torch.load` does not notice a "
        "flipped bit.",
        "The zip archive has a checksum for every record: "
        "`zipfile.ZipFile(path).testzip()` returns the name "
        "of the first record that is damaged, or None.",
        "A file that was cut off is no zip file at all: catch `zipfile.BadZipFile` and go on.",
    ),
    starter='''
def newest_whole(folder):
    """Return the path of the newest checkpoint that is undamaged, or None."""
    files = sorted(folder.glob("step-*.pt"))
    return files[-1] if files else None
''',
)


def cases(seed: int) -> list[Case]:
    """Whole files, a cut one, a flipped bit, times that mislead, and nothing left."""
    large = 100 + seed % 800
    return [
        {"whole": [8, 9, 10], "cut": [], "flipped": [], "seed": seed},
        {"whole": [2, 5], "cut": [large], "flipped": [], "seed": seed + 1},
        {"whole": [3], "cut": [], "flipped": [large], "seed": seed + 2},
        {"whole": [9, 7], "cut": [11], "flipped": [10], "seed": seed + 3},
        {"whole": [], "cut": [1], "flipped": [2], "seed": seed + 4},
        {"whole": [], "cut": [], "flipped": [], "seed": seed + 5},
    ]


def ask(case: Case) -> Plain:
    """Return the files of a folder, whole, cut and flipped."""
    torch.manual_seed(case["seed"])
    files = {"notes.txt": b"step-99999.pt"}
    for step in sorted([*case["whole"], *case["cut"], *case["flipped"]]):
        data = bytearray(saved({"w": torch.rand(64)}))
        if step in case["cut"]:
            data = data[: len(data) // 2]
        if step in case["flipped"]:
            data[data.index(b"data/0") + 150] ^= 1  # inside the tensor's numbers
        files[f"run/step-{step}.pt"] = bytes(data)
    return {"files": files}


def probe(answer: Any, question: Plain) -> Plain:
    """Give later steps earlier times; return the name of the file that was picked."""
    folder = Path("run").absolute()
    folder.mkdir(exist_ok=True)
    Path("notes.txt").rename(folder / "notes.txt")
    names = sorted(question["files"], key=lambda n: int("0" + "".join(filter(str.isdigit, n))))
    for age, name in enumerate(names):
        if name.startswith("run/"):
            os.utime(name, (10_000 - age, 10_000 - age))
    picked = answer(folder)
    return None if picked is None else Path(picked).name


def judge(case: Case, observed: Plain, expected: Plain) -> Verdict:
    """Say what is wrong with the file that was picked."""
    if observed == expected:
        return RIGHT
    if observed is None:
        return wrong("There is a whole checkpoint, but you found none.", expected, observed)
    step = int("".join(filter(str.isdigit, observed)) or -1)
    if step in case["cut"]:
        return wrong("The file you picked was cut off.", expected, observed)
    if step in case["flipped"]:
        return wrong("A bit has flipped in the file you picked.", expected, observed)
    return wrong("There is a newer one that is whole.", expected, observed)

"""Exercise 06.2: name every damaged record."""

import tempfile
import zipfile
from pathlib import Path
from typing import Any

import torch

from course_utils.grading.exercise import RIGHT, Case, Plain, Task, Verdict, wrong

TASK = Task(
    title="Name all the damage",
    difficulty="medium",
    minutes=12,
    answer="damaged_records",
    text="""
Write `damaged_records(path)`: the sorted names of all records of a checkpoint whose bytes do not
match their checksum, without the archive's own prefix: `["data/0", "data/2"]`. A whole file gives
`[]`. A file whose directory cannot be read at all gives `["directory"]`.
""",
    hints=(
        "`testzip()` stops at the first damaged record. You need a loop of your own.",
        "Reading a record to its end checks its checksum: `archive.read(name)` raises "
        "`zipfile.BadZipFile`.",
        "The directory is read when the archive is opened: that may raise the same error.",
    ),
    starter='''
import zipfile


def damaged_records(path):
    """Return the names of the records whose bytes have changed."""
    with zipfile.ZipFile(path) as archive:
        first = archive.testzip()
    return [first] if first else []
''',
)


NAME = "run.pt"


def cases(seed: int) -> list[Case]:
    """Nothing, one, several, the pickle, and a file that was cut off."""
    some = [f"data/{i}" for i in sorted({seed % 4, (seed // 4) % 4})]
    return [
        {"flip": [], "cut": False},
        {"flip": ["data/1"], "cut": False},
        {"flip": ["data/0", "data/3"], "cut": False},
        {"flip": ["data.pkl", *some], "cut": False},
        {"flip": [], "cut": True},
    ]


def ask(case: Case) -> Plain:
    """Return a file with a bit flipped in each of these records, or cut."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, NAME)
        torch.save([torch.full((50 + i,), float(i)) for i in range(4)], path)
        data = bytearray(path.read_bytes())
        with zipfile.ZipFile(path) as archive:
            for name in case["flip"]:
                content = archive.read(f"run/{name}")
                data[data.index(content) + len(content) // 2] ^= 4
    return {"files": {NAME: bytes(data[:-200] if case["cut"] else data)}}


def probe(answer: Any, question: Plain) -> Plain:
    """Return the names that come."""
    return list(answer(Path(NAME).absolute()))


def judge(case: Case, observed: Plain, expected: Plain) -> Verdict:
    """Compare the names."""
    if observed == expected:
        return RIGHT
    if case["cut"]:
        return wrong('The file was cut off: that is ["directory"].', expected, observed)
    if sorted(str(name).split("/", 1)[-1] for name in observed) == expected and case["flip"]:
        return wrong("Leave out the archive's prefix.", expected, observed, credit=0.5)
    missing = [name for name in expected if name not in observed]
    if missing:
        return wrong(f"{missing[0]} is damaged, too.", expected, observed)
    return wrong("There are names of records that are whole, or not sorted.", expected, observed)

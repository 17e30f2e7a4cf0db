"""Exercise 07.1: write a file so that no crash and no full disk can harm it."""

import errno
import os
import stat
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

from course_utils.grading.exercise import RIGHT, Case, Plain, Task, Verdict, wrong

TASK = Task(
    title="A save that survives",
    difficulty="hard",
    minutes=25,
    answer="save",
    text="""
Write `save(path, data)`: it writes bytes to a file, over an older one if there is one, so that a
crash or an error at any moment leaves the old content or the new one, whole, and nothing else in
the folder.

When it returns, the new content must survive a power cut.
""",
    hints=(
        "Which single call puts one file in the place of another, in one step? Write "
        "elsewhere first.",
        "Write to a temporary file in the same folder, `os.fsync` it, `os.replace` it. If "
        "anything fails, "
        "remove the temporary file and let the error go on.",
        "The rename itself is a change of the folder: open the folder with "
        "`os.open(folder, os.O_RDONLY)` "
        "and fsync that as well.",
    ),
    starter='''
def save(path, data):
    """Write bytes to a file so that a crash at any moment does no harm."""
    with open(path, "wb") as file:
        file.write(data)
''',
)


def cases(seed: int) -> list[Case]:
    """All goes well; then the disk is full at fsync, and the replacement fails."""
    return [
        {"fails": "nothing", "old": b"old" * 5, "new": bytes([seed % 256]) * 5000},
        {"fails": "nothing", "old": None, "new": b"first"},
        {"fails": "fsync", "old": b"old", "new": b"new" * (1 + seed % 9)},
        {"fails": "replace", "old": b"old", "new": b"new"},
    ]


def probe(answer: Any, case: Case) -> Plain:
    """Call the answer on a folder; report the order of the calls that matter and what is left."""
    log: list[str] = []
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "file.bin")
        if case["old"] is not None:
            path.write_bytes(case["old"])
        with (
            mock.patch("os.fsync", _fsync(os.fsync, log, case)),
            mock.patch("os.replace", _replace(os.replace, log, case["fails"], Path(folder))),
            mock.patch("os.rename", _replace(os.rename, log, case["fails"], Path(folder))),
        ):
            try:
                answer(path, case["new"])
                raised = False
            except Exception:  # of any type: a helper may raise its own
                if case["fails"] == "nothing":
                    raise
                raised = True
        content = path.read_bytes() if path.exists() else None
        others = len([each for each in Path(folder).iterdir() if each != path])
    return {"content": content, "others": others, "raised": raised, "calls": log}


def judge(case: Case, observed: Plain, expected: Plain) -> Verdict:
    """What is in the file first, then what was left behind, then the order of the calls."""
    if observed["content"] != expected["content"]:
        if case["fails"] == "nothing":
            return wrong("The file does not hold the new bytes.")
        return wrong(f"When {case['fails']} failed, the old file was not left whole.")
    if observed["raised"] != expected["raised"]:
        return wrong(f"When {case['fails']} failed, the caller was not told.")
    if observed["others"]:
        return wrong("A temporary file stays in the folder.", credit=0.5)
    calls = observed["calls"]
    if "replace from another folder" in calls:
        return wrong(
            "The temporary file lies in another folder, which may be another disk: replacing is "
            "only one step within a disk."
        )
    if "replace" in calls and "fsync file" not in calls[: calls.index("replace")]:
        return wrong(
            "The file is put in place before all its bytes are on the disk: flush and "
            "fsync it first."
        )
    if case["fails"] == "nothing" and calls[-1:] != ["fsync folder"]:
        return wrong(
            "The rename may be lost in a power cut: fsync the folder after it.", credit=0.5
        )
    return RIGHT


def _fsync(original: Callable[[int], None], log: list[str], case: Case) -> Callable[[Any], None]:
    def fsync(descriptor: Any) -> None:
        number = descriptor if isinstance(descriptor, int) else descriptor.fileno()
        status = os.fstat(number)
        whole = status.st_size == len(case["new"])
        file = "fsync file" if whole else "fsync before all is written"
        log.append("fsync folder" if stat.S_ISDIR(status.st_mode) else file)
        if case["fails"] == "fsync":
            raise OSError(errno.ENOSPC, "No space left on device")
        original(number)

    return fsync


def _replace(original: Any, log: list[str], fails: str, folder: Path) -> Callable[..., None]:
    def replace(source: Any, target: Any, **options: Any) -> None:
        same = Path(source).resolve().parent == folder.resolve()
        log.append("replace" if same else "replace from another folder")
        if fails == "replace":
            raise OSError(errno.EIO, "Input/output error")
        original(source, target, **options)

    return replace

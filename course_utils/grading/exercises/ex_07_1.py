"""Exercise 07.1: write a file so that no crash and no full disk can harm it."""

from pathlib import Path
from typing import Any

from course_utils.grading.exercise import (
    RIGHT,
    Case,
    Observation,
    Plain,
    Task,
    Verdict,
    Watch,
    wrong,
)

TASK = Task(
    title="A save that survives",
    difficulty="hard",
    minutes=25,
    answer="save",
    text="""
Write `save(path, data)`: it writes bytes to a file, over an older one if there is one, so that a
crash at any moment leaves the old content or the new one, whole. A process that is killed can clean
up nothing; but when `save` raises an error, or returns, nothing else may be left in the folder.

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


NAME = "file.bin"
DURABLE = {"fsync file", "sync", "open synchronous"}


def cases(seed: int) -> list[Case]:
    """All goes well; then the disk is full at fsync, and the replacement fails."""
    return [
        {"fails": "nothing", "old": b"old" * 5, "new": bytes([seed % 256]) * 5000},
        {"fails": "nothing", "old": None, "new": b"first"},
        {"fails": "fsync", "old": b"old", "new": b"new" * (1 + seed % 9)},
        {"fails": "replace", "old": b"old", "new": b"new"},
    ]


def ask(case: Case) -> Plain:
    """Return the old content, as a file, and the new one."""
    files = {} if case["old"] is None else {NAME: case["old"]}
    return {"files": files, "new": case["new"], "fails": case["fails"] != "nothing"}


def watch(case: Case) -> Watch:
    """See the calls that matter, let the kernel refuse one, and take what is left."""
    fails = "" if case["fails"] == "nothing" else case["fails"]
    return Watch(calls="needed", fails=fails, files=True)


def probe(answer: Any, question: Plain) -> Plain:
    """Call the answer; return whether it raised where it may."""
    try:
        answer(Path(NAME).absolute(), question["new"])
    except Exception:  # of any type: a helper may raise its own
        if not question["fails"]:
            raise
        return {"raised": True}
    return {"raised": False}


def read(case: Case, seen: Observation) -> Plain:
    """Return the order of the calls that matter and what is left."""
    names = {f"fsync file {len(case['new'])}": "fsync file"}
    calls = [
        names.get(call, "fsync before all is written" if call.startswith("fsync file") else call)
        for call in seen.calls
        if not call.startswith("mkdir")
    ]
    return {
        "content": seen.left.get(NAME),
        "others": len(seen.left.keys() - {NAME}),
        "raised": seen.data["raised"],
        "calls": calls,
    }


def judge(case: Case, observed: Plain, expected: Plain) -> Verdict:
    """What is in the file first, then what was left behind, then the order of the calls."""
    calls = observed["calls"]
    if case["fails"] == "fsync" and not any(call.startswith("fsync") for call in calls):
        return RIGHT  # nothing was refused: the other cases tell whether it syncs in another way
    whole = {expected["content"]}
    if case["fails"] == "fsync" and "replace" in calls:  # that of the folder, when all is in place
        whole.add(case["new"])
    if observed["content"] not in whole:
        if case["fails"] == "nothing":
            return wrong("The file does not hold the new bytes.")
        return wrong(f"When {case['fails']} failed, the old file was not left whole.")
    if observed["raised"] != expected["raised"]:
        return wrong(f"When {case['fails']} failed, the caller was not told.")
    if "replace from another folder" in calls:
        return wrong(
            "The temporary file lies in another folder, which may be another disk: replacing is "
            "only one step within a disk."
        )
    if "replace" in calls and not DURABLE & set(calls[: calls.index("replace")]):
        return wrong(
            "The file is put in place before all its bytes are on the disk: flush and "
            "fsync it first."
        )
    if observed["others"]:
        return wrong("A temporary file stays in the folder.", credit=0.5)
    if case["fails"] == "nothing" and calls[-1:] not in (["fsync folder"], ["sync"]):
        return wrong(
            "The rename may be lost in a power cut: fsync the folder after it.", credit=0.5
        )
    return RIGHT

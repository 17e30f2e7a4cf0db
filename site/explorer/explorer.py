"""What the explorer asks of the course's package, inside the browser.

`ckpt` itself is run, so what the page copies as JSON is what the command prints. Files appear as a
folder whose bytes are read from the page's File objects, a slice at a time.
"""

import io
import json
import os
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from functools import partial
from importlib import import_module
from typing import Any

from course_utils.ckpt import doctor, verify
from course_utils.ckpt.main import main
from course_utils.errors import CheckpointError
from course_utils.files.contents import open_contents
from course_utils.files.open_file import OpenFile
from course_utils.formats import open as formats_open
from course_utils.formats.byte_map import byte_map
from course_utils.formats.folder_kinds import folder_kind

LARGEST_PICKLE = 64 << 20  # bytes; the page has less memory than a program

AHEAD = 64 << 10  # bytes; asking the browser for these takes no longer than for a header's

formats_open.LARGEST_PICKLE = LARGEST_PICKLE

# What the commands import when they are asked for; here, so that a picture of memory has it.
for _name in ("audit", "diff", "folder_notes", "inspect", "key_tree", "paths"):
    import_module(f"course_utils.ckpt.{_name}")


def ckpt(command: str, names: list[str], tell: Callable[[int, int], object]) -> str:
    """Return what ``ckpt COMMAND --json`` prints about files.

    Args:
        command: inspect, verify, audit, doctor or diff.
        names: of files in the current folder.
        tell: is told how many bytes are done, and of how many.
    """
    report = partial(_Progress, tell)
    doctor.Progress = verify.Progress = report  # type: ignore[misc, assignment]
    return _printed([command, "--json", "--", *names])


def text(command: str, names: list[str]) -> str:
    """Return what ``ckpt COMMAND`` prints about files, on both its streams."""
    return _printed([command, "--", *names])


def folders() -> str:
    """Return, as JSON, which of the page's folders are one checkpoint; ``.`` is that of all."""
    found = [folder for folder, _, files in os.walk(".") if folder_kind(files) is not None]
    return json.dumps(sorted(os.path.relpath(folder) for folder in found))


def spans(name: str) -> str:
    """Return the byte map of a file as JSON: start, stop, kind and name of each stretch."""
    try:
        contents = open_contents(name)
    except CheckpointError:
        return "[]"
    return json.dumps(byte_map(contents)) if contents.records else "[]"


def _read_ahead(read: Callable[[OpenFile, int, int], bytes]) -> Any:
    def read_at(file: Any, position: int, count: int, /) -> bytes:
        if count > AHEAD:
            return read(file, position, count)
        start, data = getattr(file, "ahead", (0, b""))
        if not start <= position <= position + count <= start + len(data):
            start, data = file.ahead = position, read(file, position, AHEAD)
        return data[position - start : position - start + count]

    return read_at


OpenFile.read_at = _read_ahead(OpenFile.read_at)  # type: ignore[method-assign]


def _printed(arguments: list[str]) -> str:
    out = io.StringIO()
    with redirect_stdout(out), redirect_stderr(out):
        main(arguments)
    return out.getvalue()


class _Progress:
    """Stands where `ckpt.progress.Progress` does, and tells the page instead of a terminal."""

    def __init__(self, tell: Callable[[int, int], object], _: str, total: int) -> None:
        self._tell, self._total, self._done = tell, total, 0

    def __call__(self, count: int) -> None:
        self._done += count
        self._tell(min(self._done, self._total), self._total)

    def __enter__(self) -> "_Progress":
        return self

    def __exit__(self, *_: Any) -> None:
        pass

"""Finds the files that arguments name: files, folders and patterns."""

import os
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from course_utils.ckpt.report import IMPOSSIBLE, Report, refusal
from course_utils.errors import MissingCheckpointError, UnreadableCheckpointError


class Place(NamedTuple):
    """A file to look at.

    Attributes:
        path: its name.
        in_folder: whether it was found in a folder, rather than named.
        report: what there is to say instead, where it cannot be looked at.
    """

    path: str
    in_folder: bool = False
    report: Report | None = None


def find_files(arguments: Sequence[str]) -> tuple[Iterator[Place], bool]:
    """Return the files, and whether they may be many: more than one name, or a folder.

    Files in a folder come in the order of their names, folders in it after them. What is hidden in
    it, and folders that links lead to, are left out.
    """
    names = [name for argument in arguments for name in _expanded(argument)]
    many = len(names) > 1 or any(os.path.isdir(name) for name in names)
    return (place for name in names for place in _places(name)), many


def _expanded(argument: str) -> list[str]:
    """Return what a pattern stands for; what is no pattern, or fits nothing, as it is."""
    if os.path.lexists(argument) or not any(sign in argument for sign in "*?["):
        return [argument]
    from glob import glob

    return sorted(glob(argument, recursive=True)) or [argument]


def _places(name: str) -> Iterator[Place]:
    if not os.path.isdir(name):
        yield Place(name)
        return
    empty = True
    errors: list[OSError] = []
    for folder, folders, files in os.walk(name, onerror=errors.append):
        while errors:
            yield _unreadable(errors.pop())
        folders[:] = sorted(f for f in folders if not f.startswith("."))
        if _is_sharded(files):
            yield Place(folder, True, _sharded(folder))
            folders[:], files, empty = [], [], False
        for file in sorted(f for f in files if not f.startswith(".")):
            yield Place(os.path.join(folder, file), in_folder=True)
            empty = False
    while errors:
        yield _unreadable(errors.pop())
        empty = False
    if empty:
        error = MissingCheckpointError(f"{name}: there is no file in this folder.")
        yield Place(name, False, refusal(error, IMPOSSIBLE))


def _unreadable(error: OSError) -> Place:
    reason = UnreadableCheckpointError(f"{error.filename}: cannot be read: {error.strerror}.")
    return Place(str(error.filename), False, refusal(reason, IMPOSSIBLE))


def _is_sharded(files: Sequence[str]) -> bool:
    return ".metadata" in files and any(file.endswith(".distcp") for file in files)


def _sharded(folder: str) -> Report:
    error = UnreadableCheckpointError(
        f"{folder} is a sharded checkpoint, which this command does not read. Make one file of it: "
        f"python -m torch.distributed.checkpoint.format_utils dcp_to_torch {folder} out.pt"
    )
    return refusal(error, IMPOSSIBLE)

"""Finds the files that arguments name: files, folders and patterns."""

import os
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from course_utils.ckpt.report import IMPOSSIBLE, Report, refusal
from course_utils.errors import MissingCheckpointError, UnreadableCheckpointError
from course_utils.formats.folder_kinds import folder_kind, foreign_folder


class Place(NamedTuple):
    """A file, or a folder that is one checkpoint, to look at.

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

    A folder that is one checkpoint is one place, a known one of another library is a place before
    those of its files. Files in a folder come in the order of their
    names, folders in it after them. What is hidden in it, and folders that links lead to, are left
    out.
    """
    names = [name for argument in arguments for name in _expanded(argument)]
    many = len(names) > 1 or any(os.path.isdir(name) and not _is_one(name) for name in names)
    return (place for name in names for place in _places(name)), many


def _is_one(name: str) -> bool:
    """Whether a folder is one checkpoint, and nothing else is in it."""
    _, folders, files = next(os.walk(name), (name, [], []))
    kind = folder_kind(files)
    shown = [file for file in (*folders, *files) if not file.startswith(".")]
    return kind is not None and all(map(kind.holds, shown))


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
        kind = folder_kind(files)
        if kind is not None:  # one checkpoint, one line
            yield Place(folder, in_folder=True)
            files, empty = [file for file in files if not kind.holds(file)], False
        elif foreign_folder(files) is not None:
            yield Place(folder, in_folder=folder != name)
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

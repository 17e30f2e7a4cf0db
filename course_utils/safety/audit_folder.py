"""What loading a folder would do: each file in it that a loader unpickles, and its index."""

import os
from pathlib import Path

from course_utils.errors import CheckpointError, UnsafeCheckpointError
from course_utils.files.folder import OpenFolder
from course_utils.formats.distributed import open_index
from course_utils.formats.evidence import Evidence
from course_utils.formats.folder_kinds import (
    DISTRIBUTED,
    INDEX,
    folder_kind,
    is_index,
    is_shard_index,
)
from course_utils.formats.folders import weight_map
from course_utils.formats.judge import Verdict
from course_utils.formats.readings import inspect
from course_utils.formats.source import Window

TEXTS = (".json", ".jinja", ".md", ".model", ".txt", ".yaml")


def audit_folder(path: str | os.PathLike[str]) -> tuple[Path, list[str], Evidence]:
    """Look at the files of a folder that is one checkpoint.

    Args:
        path: the folder, or an index in it.

    Returns:
        The folder, what it is, and what was found; it is nothing if it is not one checkpoint.
    """
    path, index = Path(path), None
    if not path.is_dir():
        path, index = path.parent, path.name
    folder, evidence = OpenFolder(path), Evidence()
    found = folder_kind(folder.names, index if index and is_shard_index(index) else None)
    if found is None or (index and not is_index(index)):
        return path, [], evidence
    if found.kind == DISTRIBUTED:
        _distributed(folder, evidence)
        return path, [found.kind], evidence
    listed = _listed(folder, found.listed_by, evidence) if found.listed_by else set()
    for name in folder.names:
        if name in listed or (found.holds(name) and not name.endswith(TEXTS)):
            _inspect(Window(folder.open(name)), name, evidence)
    return path, [found.kind], evidence


def _listed(folder: OpenFolder, index: str, evidence: Evidence) -> set[str]:
    """Return the shards that an index lists, whatever their names; note those that are lost."""
    try:
        listed = set(weight_map(folder, index).values())
    except CheckpointError as error:
        evidence.add(Verdict.DAMAGED, index, str(error))
        return set()
    for name in sorted(listed.difference(folder.names)):
        evidence.add(
            Verdict.DAMAGED, name, f"is not there, and listed in {index}: it cannot be judged"
        )
    return listed


def _distributed(folder: OpenFolder, evidence: Evidence) -> None:
    """Look at every value in the files; the index itself holds places only, or is refused."""
    try:
        index = open_index(folder)
    except UnsafeCheckpointError:
        inspect(Window(folder.open(INDEX)), f"{INDEX}: ", evidence)
        return
    except CheckpointError as error:
        evidence.add(Verdict.DAMAGED, INDEX, str(error))
        return
    files = {name: folder.open(name) for name in {place.file for _, place in index.places()}}
    for name, place in index.places():
        window = Window(files[place.file], place.start, place.length)
        _inspect(window, f"{place.file}, {name}", evidence)


def _inspect(file: Window, name: str, evidence: Evidence) -> None:
    if not inspect(file, f"{name}: ", evidence):
        evidence.add(
            Verdict.MALFORMED, name, "is nothing that torch, pickle or safetensors would load"
        )

"""What the files of a framework's checkpoint hold, told without running any: lesson 10."""

import json
from pathlib import Path

from course_utils.anatomy import read_archive
from course_utils.distributed.files import read_index
from course_utils.safety import audit


def look(path: Path) -> tuple[str, str]:
    """Return what loading a file would do, and what it holds at its top.

    Args:
        path: a file of a checkpoint that Lightning, accelerate, transformers or DCP wrote.
    """
    if path.suffix == ".json":
        return "text", ", ".join(json.loads(path.read_text()))
    if path.suffix == ".distcp":
        return "read by the index only", "the elements of all tensors, and other values"
    verdict = audit(path).verdict.value
    if path.name == ".metadata":
        return verdict, _parts(list(read_index(path).state_dict_metadata))
    archive = read_archive(path)
    if path.suffix == ".safetensors":
        return verdict, _parts(list(archive.tensors))
    if isinstance(archive.tree, dict):
        return verdict, ", ".join(map(str, archive.tree))
    return verdict, f"an object; to load it imports {len(archive.globals)} names"


def _parts(names: list[str]) -> str:
    return f"{len(names)} entries: {names[0]} … {names[-1]}"

"""What a checkpoint holds beside the tensors that are converted, and what cannot be kept of it."""

import json
from collections.abc import Iterator
from typing import Any

from course_utils.formats.contents import SAFETENSORS, Contents
from course_utils.formats.pickle_nodes import PersistentId
from course_utils.formats.tensors import storage_of
from course_utils.formats.trees import nodes
from course_utils.formats.values import plain_values
from course_utils.safety.selection import Choice, Selection


def values_of(
    contents: Contents, choice: Choice, selection: Selection
) -> tuple[dict[str, Any], list[str]]:
    """Return the values that JSON can hold, by their new names, and the paths of all others."""
    if contents.kind == SAFETENSORS:
        return {}, []
    values, others = plain_values(contents)
    start = "" if choice.key is None else f"{choice.key}."
    kept = {}
    for path, value in values.items():
        try:
            json.dumps(value, allow_nan=False)
        except ValueError:  # NaN and infinity are no JSON
            others.append(path)
        else:
            kept[path] = value
    named = {path[len(start) :]: value for path, value in kept.items() if path.startswith(start)}
    others = [path for path in others if path.startswith(start) and path not in selection.modules]
    return named, [path or "(the whole)" for path in others]


def lost_parts(contents: Contents, selection: Selection) -> Iterator[str]:
    """Yield what is set on tensors, and memory that no tensor with a name shows."""
    for info in selection.tensors.values():
        if info.subclass:
            yield f"{info.name}'s class, {info.subclass}"
        if info.attributes:
            yield f"{info.name}'s attributes"
    if contents.kind == SAFETENSORS:
        return
    shown = {info.storage for info in contents.tensors.values()}
    for reference in nodes(contents.tree):
        if isinstance(reference, PersistentId):
            key = storage_of(reference).key
            if key not in shown:
                shown.add(key)
                yield f"record data/{key}, which no tensor with a name shows"

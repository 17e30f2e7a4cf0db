"""Take out the mark that ``load_state_dict(assign=True)`` leaves in a state_dict.

torch keeps it in ``_metadata``, where it makes every later load from that state_dict assign too:
parameters are replaced, and an optimizer that was built before goes on with the old ones. Source:
https://github.com/pytorch/pytorch/issues/188166.
"""

from collections import OrderedDict
from typing import Any

from course_utils.files.notices import say_once
from course_utils.formats.wrappers import ASSIGN_MARK


def unmarked(metadata: Any) -> dict[Any, Any] | None:
    """Return a state_dict's ``_metadata`` without the mark; None if it has none."""
    if not isinstance(metadata, dict):
        return None
    notes = metadata.values()
    if not any(isinstance(note, dict) and ASSIGN_MARK in note for note in notes):
        return None
    clean = type(metadata)()
    for module, note in metadata.items():
        if isinstance(note, dict):
            note = {key: value for key, value in note.items() if key != ASSIGN_MARK}
        clean[module] = note
    return clean


def take_out_marks(state: Any, path: Any) -> None:
    """Take the mark out of every state_dict in what was loaded from a file, and say so once."""
    pending, seen = [state], set()
    found = False
    while pending:
        node = pending.pop()
        if not isinstance(node, dict | list | tuple) or id(node) in seen:
            continue
        seen.add(id(node))
        clean = unmarked(getattr(node, "_metadata", None))
        if clean is not None:
            node._metadata = clean  # type: ignore[union-attr]
            found = True
        pending.extend(node.values() if isinstance(node, dict) else node)
    if found:
        say_mark(path, "Not loaded with it")


def reduce_ordered_dict(state: "OrderedDict[Any, Any]", note: list[bool]) -> Any:
    """Return how to pickle an OrderedDict, without the mark; append to ``note`` if it had one."""
    reduced = state.__reduce__()
    clean = unmarked(getattr(state, "_metadata", None))
    if clean is None or isinstance(reduced, str):
        return reduced
    note.append(True)
    function, arguments, attributes, *rest = reduced
    return (function, arguments, {**attributes, "_metadata": clean}, *rest)


def say_mark(path: Any, done: str) -> None:
    """Warn once about a file's state_dict."""
    say_once(
        path,
        "load_state_dict(assign=True) left a mark in a state_dict that makes every load from it "
        f"assign too (pytorch#188166). {done}.",
        stacklevel=5,
    )

"""What a checkpoint holds beside tensors."""

from typing import Any

from course_utils.formats.contents import Contents
from course_utils.formats.key_names import key_name
from course_utils.formats.pickle_nodes import Call
from course_utils.formats.tensors import is_tensor

DEEPEST = 256  # containers in containers that are looked into


def plain_values(contents: Contents) -> tuple[dict[str, Any], list[str]]:
    """Return what a checkpoint holds beside tensors.

    Returns:
        Values that JSON can hold, by dotted path, and the paths of all others, among them the
        second values of paths that two have. Lists and tuples
        of such values stay in one piece.
    """
    values: dict[str, Any] = {}
    others: list[str] = []
    pending: list[tuple[str, Any, int]] = [("", contents.tree, 0)]
    while pending:
        path, node, depth = pending.pop()
        if isinstance(node, dict) and depth < DEEPEST:
            metadata = getattr(node, "state", None)
            inside = [*node.items(), *(metadata or {}).items()]
            prefix = f"{path}." if path else ""
            pending += [(f"{prefix}{key_name(k)}", v, depth + 1) for k, v in reversed(inside)]
        elif _is_json(node) and path in values:  # {"a": {"b": 1}, "a.b": 2}
            others.append(path)
        elif _is_json(node):
            values[path] = node
        elif isinstance(node, list | tuple) and depth < DEEPEST:
            pending += [(f"{path}.{i}", v, depth + 1) for i, v in reversed(list(enumerate(node)))]
        elif not (isinstance(node, Call) and is_tensor(node)):
            others.append(path)
    return values, others


def _is_json(node: Any, depth: int = 8) -> bool:
    if isinstance(node, list | tuple):
        return depth > 0 and all(_is_json(item, depth - 1) for item in node)
    return node is None or isinstance(node, bool | int | float | str)

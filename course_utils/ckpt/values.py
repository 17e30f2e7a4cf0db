"""What a file holds beside tensors, in bounded memory: what is long is described."""

from itertools import islice
from typing import Any, NamedTuple

from course_utils.formats.contents import Contents
from course_utils.formats.key_names import key_name
from course_utils.formats.pickle_nodes import Call, Global, describe
from course_utils.formats.tensors import is_tensor

DEEPEST = 64  # containers in containers that are looked into
MOST_IN_ONE = 200  # values of one container that are shown; a vocabulary has a million
MOST = 10_000  # values that are shown
LONGEST = 1_000  # characters of a text that is shown
LARGEST = 2**1024  # integers from here on are described
_PLAIN = (bool, int, float, str)


class Values(NamedTuple):
    """Values by dotted path, see `described`, and how many were left out."""

    found: dict[str, Any]
    left_out: int


def values_of(contents: Contents) -> Values:
    """Return what a checkpoint holds beside tensors, and of safetensors files the metadata.

    Lists of a few plain values stay in one piece. The versions of modules, which ``state_dict``
    keeps in ``_metadata``, are left out.
    """
    found: dict[str, Any] = {}
    # References to one node cost two bytes each: a pickle has no more honest places than bytes.
    left_out, budget = 0, max(len(contents.pickle), MOST)
    pending: list[tuple[str, Any, int]] = [("", contents.tree, 0)]
    while pending:
        path, node, depth = pending.pop()
        if _is_container(node) and depth < DEEPEST and budget > 0:
            budget -= 1 + len(node)
            inside = _Inside(path, node, depth)
            left_out += inside.hidden
            pending += reversed(inside.containers)
            leaves = inside.leaves
        else:
            leaves = {} if is_tensor(node) else {path: described(node)}
        room = MOST - len(found)
        left_out += max(0, len(leaves) - room)
        found.update(islice(leaves.items(), max(0, room)))
    return Values(found, left_out)


def described(value: Any) -> Any:
    """Return a value as JSON can hold it.

    What is long, or no plain value, becomes a dictionary with the one entry ``described``: a text.
    """
    if value is None or isinstance(value, bool | float):
        return value
    if isinstance(value, int):
        long = abs(value) >= LARGEST
        return {"described": f"integer of {value.bit_length():,} bits"} if long else value
    if isinstance(value, str):
        if len(value) <= LONGEST:
            return value
        return {"described": f"text of {len(value):,} characters: {value[:60]!r}…"}
    short = isinstance(value, list | tuple) and len(value) <= MOST_IN_ONE
    if short and all(map(_is_plain, value)):
        return [described(item) for item in value]
    return {"described": _name_of(value)}


def _name_of(value: Any) -> str:
    if isinstance(value, Call):
        return f"call of {describe(value.function)}"
    if isinstance(value, Global):
        return describe(value)
    if isinstance(value, bytes | bytearray):
        return f"{len(value):,} bytes"
    kind = type(value).__name__
    if isinstance(value, list | tuple | dict | set | frozenset):
        return f"{kind.removesuffix('Node')} of {len(value):,}"
    return kind


class _Inside:
    """What a container holds: leaves to show, how many are not shown, containers to look into."""

    def __init__(self, path: str, node: Any, depth: int) -> None:
        self.leaves: dict[str, Any] = {}
        self.containers: list[tuple[str, Any, int]] = []
        prefix = f"{path}." if path else ""
        leaves = containers = 0
        for key, value in node.items() if isinstance(node, dict) else enumerate(node):
            if _is_container(value):
                containers += 1
                if containers <= MOST:
                    self.containers.append((f"{prefix}{key_name(key)}", value, depth + 1))
            elif not is_tensor(value):
                leaves += 1
                if leaves <= MOST_IN_ONE:
                    self.leaves[f"{prefix}{key_name(key)}"] = described(value)
        self.hidden = max(0, leaves - MOST_IN_ONE) + max(0, containers - MOST)
        if self.hidden:
            self.leaves[f"{prefix}…"] = {"described": f"{self.hidden:,} more values"}


def _is_container(node: Any) -> bool:
    """Whether it is looked into: all but lists of plain values, which stay in one piece."""
    if isinstance(node, dict):
        return True
    return isinstance(node, list | tuple) and not all(map(_is_plain, node))


def _is_plain(value: Any) -> bool:
    return value is None or isinstance(value, _PLAIN)

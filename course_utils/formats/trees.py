"""Walks the inert trees that pickles give, and compares two of them to the last node."""

import struct
from collections.abc import Callable, Iterator
from typing import Any

from course_utils.formats.key_names import key_name
from course_utils.formats.pickle_nodes import (
    Appended,
    Call,
    Global,
    OrderedDictNode,
    PersistentId,
    describe,
)
from course_utils.formats.plain_nodes import SetOf, plain

KEY_DEPTH = 32  # containers in containers inside a set or a key
MOST_PARTS = 2_000_000  # containers inside a set or a key


_Items = list[tuple[Any, Any]]


class NotPlainError(ValueError):
    """A value cannot be compared by what it says."""


def nodes(root: Any) -> Iterator[Any]:
    """Yield every container, call and reference under ``root`` once, the outer ones first.

    What was yielded may be changed before the next is asked for.
    """
    seen, pending = set(), [root]
    while pending:
        node = pending.pop()
        if isinstance(node, _INNER) and id(node) not in seen:
            seen.add(id(node))
            yield node
            pending += reversed(_inside(node))


def frozen(node: Any) -> Any:
    """Return something equal for equal values and for no others: True is not 1, nor is 1.0.

    Minus zero is not zero; a NaN equals one of the same bits. Calls are equal if all that they
    are made of is.

    Raises:
        NotPlainError: it refers to a storage, or it is nested too deep, or too large.
    """
    return _Freezer().freeze(node, 0)


class _Freezer:
    def __init__(self) -> None:
        self._left = MOST_PARTS  # shared parts can make a small tree exponentially large

    def freeze(self, node: Any, depth: int) -> Any:
        node = plain(node)
        kind = type(node)
        if kind is float:
            return (float, struct.pack(">d", node))
        if kind is complex:
            return (complex, struct.pack(">2d", node.real, node.imag))
        if kind in (bool, int, str, bytes, type(None), Global, Appended):
            return (kind, node)
        if kind is bytearray:
            return (kind, bytes(node))
        self._left -= 1
        if depth > KEY_DEPTH or not self._left:
            raise NotPlainError("nested too deep, or too large, to be compared as a value")
        if isinstance(node, SetOf):
            return (SetOf, node.is_frozen, frozenset(self._all(node.items, depth)))
        if kind in (tuple, list):
            return (kind, *self._all(node, depth))
        if isinstance(node, dict):
            items = self._all([part for item in node.items() for part in item], depth)
            return (kind, items, self.freeze(getattr(node, "state", None), depth + 1))
        if kind is Call:
            parts = [node.function, node.arguments, node.state, *map(tuple, node.items)]
            return (Call, self._all(parts, depth))
        raise NotPlainError(f"{describe(node)} cannot be compared as a value")

    def _all(self, nodes: Any, depth: int) -> tuple[Any, ...]:
        return tuple(self.freeze(node, depth + 1) for node in nodes)


def is_value(node: Any) -> bool:
    """Whether a node, made `plain`, has no parts with an identity of their own."""
    return not isinstance(node, dict | list | tuple | Call | PersistentId)


def mismatch(
    one: Any,
    two: Any,
    *,
    same_key: Callable[[Any, Any], bool] = lambda _one, _two: False,
    same_node: Callable[[Any, Any], bool] = lambda _one, _two: False,
) -> str | None:
    """Say where two trees first differ: in types, values, order, or in what is one object.

    Args:
        one, two: the trees.
        same_key: whether a key may stand in the place of another, different one.
        same_node: whether a call or reference counts as the same as another, whatever is inside.

    Returns:
        The place and what differs there; None for equal trees.
    """
    partner: dict[int, int] = {}
    taken: dict[int, int] = {}
    compared = set()
    pending = [("", one, two)]
    while pending:
        path, one, two = pending.pop()
        one, two = plain(one), plain(two)
        if type(one) is not type(two) or (is_value(one) and not _equal(one, two)):
            return f"{path}: {describe(one)} and {describe(two)}"
        pair = (id(one), id(two))
        if is_value(one) or pair in compared or same_node(one, two):
            continue
        compared.add(pair)
        if isinstance(one, dict | list | Call) and (
            partner.setdefault(id(one), id(two)) != id(two)
            or taken.setdefault(id(two), id(one)) != id(one)
        ):
            return f"{path}: what is one object in one tree is several in the other"
        inside = _pairs(path, one, two, same_key)
        if inside is None:
            return f"{path}: other keys, or another number of parts"
        pending += reversed(inside)
    return None


_Pairs = list[tuple[str, Any, Any]]


def _pairs(path: str, one: Any, two: Any, same_key: Callable[[Any, Any], bool]) -> _Pairs | None:
    """Return the parts of two nodes of one type side by side; None if they cannot be paired."""
    if isinstance(one, PersistentId):
        return [(path, one.value, two.value)]
    if isinstance(one, list | tuple):
        both = zip(one, two, strict=False)
        return _numbered(path, both) if len(one) == len(two) else None
    if isinstance(one, dict):
        found = _keyed(path, [*one.items()], [*two.items()], same_key)
        state = (getattr(one, "state", None), getattr(two, "state", None))
        return None if found is None else [*found, (f"{path}.state", *state)]
    found = _keyed(path, one.items, two.items, same_key)
    if found is None or one.opcode != two.opcode:
        return None
    called = _numbered(path, [(one.function, two.function), (one.arguments, two.arguments)])
    return [*called, *found, (f"{path}.state", one.state, two.state)]


def _numbered(path: str, pairs: Any) -> _Pairs:
    return [(f"{path}.{number}", a, b) for number, (a, b) in enumerate(pairs)]


def _keyed(
    path: str, one: _Items, two: _Items, same_key: Callable[[Any, Any], bool]
) -> _Pairs | None:
    if len(one) != len(two):
        return None
    found: _Pairs = []
    for (key, value), (other, second) in zip(one, two, strict=True):
        inside = f"{path}.{key_name(key)}"
        if isinstance(key, Call):
            found.append((inside, key, other))
        elif not _equal(key, other) and not same_key(key, other):
            return None
        found.append((inside, value, second))
    return found


def _equal(one: Any, two: Any) -> bool:
    try:
        return bool(one is two or frozen(one) == frozen(two))
    except NotPlainError:
        return False


def _inside(node: Any) -> list[Any]:
    if isinstance(node, dict):
        parts = [part for item in node.items() for part in item]
        return [*parts, node.state] if isinstance(node, OrderedDictNode) else parts
    if isinstance(node, PersistentId):
        return [node.value]
    if isinstance(node, Call):
        items = [part for item in node.items for part in item]
        return [node.function, node.arguments, *items, node.state]
    return list(node)


_INNER = (dict, list, tuple, set, frozenset, Call, PersistentId)

"""Finds the tensors in the inert tree of a checkpoint's pickle, with their paths."""

from collections.abc import Iterable, Iterator
from itertools import chain
from typing import Any, NamedTuple

from course_utils.formats.key_names import key_name
from course_utils.formats.pickle_nodes import Call, TooMuchError, describe
from course_utils.formats.tensors import OtherTensor, TensorInfo, tensor_at

DEPTH = 2000  # of nested containers; Python's own pickler gives up earlier
PATH = 65536  # characters in the dotted path of a tensor
SMALL = 200_000  # places visited in the smallest of files before references count as endless


class Found(NamedTuple):
    """The tensors of a pickle.

    Attributes:
        tensors: those that can be read, by dotted path, parts of others among them.
        others: those that cannot, by dotted path.
        collided: dotted paths that more than one tensor has; the later ones got a ``'`` added.
    """

    tensors: dict[str, TensorInfo]
    others: dict[str, OtherTensor]
    collided: frozenset[str]


def find_tensors(root: Any, *, limit: int) -> Found:
    """Return every tensor under ``root`` by its dotted path.

    Args:
        root: what `pickle.read_pickle` built.
        limit: most places to visit; a pickle of n bytes has no honest use for more than n.

    Raises:
        MalformedPickleError: a tensor makes no sense.
        TooMuchError: references multiply beyond ``limit``.
    """
    tensors: dict[str, TensorInfo] = {}
    others: dict[str, OtherTensor] = {}
    collided = set()
    outer: dict[
        str, str
    ] = {}  # name of the other tensor, by the path that all its parts begin with
    for path, found in _walk(root, limit):
        while found.name in tensors or found.name in others:  # {"a": {"b": …}, "a.b": …}
            collided.add(path)
            found = _named(found, f"{found.name}'")
        if isinstance(found, OtherTensor):
            others[found.name] = found
            outer[path] = found.name
        else:
            whole = next((outer[p] for p in _parents(path) if p in outer), None) if outer else None
            tensors[found.name] = found._replace(part_of=whole) if whole else found
    return Found(tensors, others, frozenset(collided))


def _named(found: TensorInfo | OtherTensor, name: str) -> TensorInfo | OtherTensor:
    return found._replace(name=name)


def _parents(path: str) -> Iterator[str]:
    while "." in path:
        path = path.rpartition(".")[0]
        yield path


def _walk(root: Any, limit: int) -> Iterator[tuple[str, TensorInfo | OtherTensor]]:
    """Yield (path, tensor) for every tensor, in the order of the file; cycles are cut."""
    leading = _leading_to_calls(root)
    pending: list[tuple[str, str, Any, _Above]] = [("", "", root, None)]
    spent = 0
    while pending:
        parent, name, node, above = pending.pop()
        if id(node) not in leading:
            continue
        path = f"{parent}.{name}" if parent else name
        # References to one node cost two bytes each, so all work they cause is counted.
        spent += 1 + _length(node) + len(path) // 8
        if spent > max(limit, SMALL):
            raise TooMuchError("its references multiply without end")
        found = tensor_at(path, node) if isinstance(node, Call) else None
        if found is not None:
            yield path, found._replace(node=node) if isinstance(found, OtherTensor) else found
        if isinstance(found, TensorInfo) or _is_in(id(node), above):
            continue
        inside = (above[0] + 1 if above else 1, id(node), above)
        if inside[0] > DEPTH or len(path) > PATH:
            raise TooMuchError(f"containers nested more than {DEPTH} deep, or endless names")
        pending += [(path, key, child, inside) for key, child in reversed(_children(node))]


_Above = tuple[int, int, Any] | None  # depth and id of the container around, and what is above it


def _is_in(number: int, above: _Above) -> bool:
    while above:
        if above[1] == number:
            return True
        above = above[2]
    return False


def _leading_to_calls(root: Any) -> set[int]:
    """Return the ids of the containers in which there is a call, at any depth, and of all calls.

    One configuration may be referred to thousands of times: it is looked at once.
    """
    around: dict[int, list[int]] = {id(root): []}  # ids of the containers of each node
    calls, pending = [], [root]
    while pending:
        node = pending.pop()
        if isinstance(node, Call):
            calls.append(id(node))
            if describe(node.function) in _PLAIN:
                continue
        for _, child in _children(node):
            if id(child) not in around:
                around[id(child)] = []
                pending.append(child)
            around[id(child)].append(id(node))
    found = set(calls)
    while calls:
        new = [n for n in around[calls.pop()] if n not in found]
        found.update(new)
        calls += new
    return found


def _length(node: Any) -> int:
    if isinstance(node, Call):
        length = len(node.items) + _length(node.arguments)
        return length if node.state is None else length + _length(node.state)
    return len(node) if isinstance(node, (dict, list, tuple)) else 0


def _children(node: Any) -> list[tuple[str, Any]]:
    pairs: Iterable[tuple[Any, Any]] = ()
    if isinstance(node, dict):
        pairs = node.items()
    elif isinstance(node, list | tuple):
        pairs = enumerate(node)
    elif isinstance(node, Call):
        state = node.state if isinstance(node.state, dict) else {"state": node.state}
        pairs = chain(_children(node.arguments), state.items(), node.items)
    return [(key_name(key), value) for key, value in pairs if isinstance(value, _CONTAINERS)]


_CONTAINERS = (dict, list, tuple, Call)
_PLAIN = {
    f"torch._utils.{name}"
    for name in ("_rebuild_tensor", "_rebuild_tensor_v2", "_rebuild_tensor_v3")
}

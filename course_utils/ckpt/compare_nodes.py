"""Compares what two pickles would build, node by node."""

from collections.abc import Iterator
from typing import Any, NamedTuple

from course_utils.ckpt.changes import NOT_COMPARED, Change, both, show
from course_utils.ckpt.compare_tensors import Side, compare_tensors
from course_utils.files.read_back import equal_bytes, pieces_of
from course_utils.formats.contents import Contents
from course_utils.formats.key_names import key_name
from course_utils.formats.pickle_nodes import (
    APPENDED,
    Call,
    Global,
    OrderedDictNode,
    PersistentId,
    describe,
)
from course_utils.formats.plain_nodes import plain
from course_utils.formats.tensors import TensorInfo, is_tensor, storage_of, tensor_at
from course_utils.formats.trees import NotPlainError, frozen, is_value, nodes

PARAMETER = "torch.nn.parameter.Parameter"
_HOOKS = {"_rebuild_tensor_v2": 5, "_rebuild_tensor_v3": 5, "_rebuild_parameter": 2}


class _Pair(NamedTuple):
    path: str
    one: Any
    two: Any


class NodeComparison:
    """Compares nodes of two files; what shares memory is compared across all of them.

    Args:
        left, right: the files.
        ignored: what plays no part; see `diff.ASPECTS`.

    Attributes:
        tensors: how many pairs of tensors were compared.
        values: how many pairs of values.
    """

    def __init__(self, left: Contents, right: Contents, ignored: frozenset[str]) -> None:
        self._left, self._right, self._ignored = left, right, ignored
        self._seen: set[tuple[int, int]] = set()
        self._elements: dict[tuple[int, int], list[Change]] = {}
        self._partners: tuple[dict[Any, Any], dict[Any, Any]] = ({}, {})
        self._owners: dict[Any, str] = {}
        self.tensors = self.values = 0

    def changes(self, path: str, one: Any, two: Any) -> Iterator[Change]:
        """Yield how two nodes differ, in the order of the first; what is inside them too."""
        pending: list[_Pair | Change] = [_Pair(path, one, two)]
        while pending:
            job = pending.pop()
            if isinstance(job, Change):
                yield job
            else:
                pending += reversed(list(self._step(*job)))

    def tensors_differ(self, one: TensorInfo, two: TensorInfo) -> Iterator[Change]:
        """Yield how two tensors differ, by their descriptions, but for what is set on them."""
        self.tensors += 1
        sides = Side(self._left, one), Side(self._right, two)
        yield from compare_tensors(*sides, self._ignored)
        if one.record and two.record and one.span and two.span:
            first, second = one.storage_offset * one.itemsize, two.storage_offset * two.itemsize
            yield from self._share(one.name, one.record, two.record, first - second)

    def _step(self, path: str, one: Any, two: Any) -> Iterator[_Pair | Change]:
        """Compare two nodes, and yield the pairs inside of them."""
        one, two = plain(one), plain(two)
        if is_value(one) and is_value(two):
            yield from self._values(path, one, two)
            return
        first, second = _tensor(path, one), _tensor(path, two)
        if first and second:
            yield from self._tensors(_Pair(path, one, two), first, second)
        elif type(one) is not type(two) or first or second:
            yield Change(path, "kind", f"{_kind(one)} and {_kind(two)}")
        elif (id(one), id(two)) not in self._seen:
            self._seen.add((id(one), id(two)))
            yield from self._inside(path, one, two)

    def _values(self, path: str, one: Any, two: Any) -> Iterator[Change]:
        self.values += 1
        try:
            if frozen(one) != frozen(two):
                yield Change(path, "value", both(one, two))
        except NotPlainError as error:
            yield Change(path, NOT_COMPARED, str(error))

    def _tensors(self, pair: _Pair, one: TensorInfo, two: TensorInfo) -> Iterator[_Pair | Change]:
        path = pair.path
        key = (id(pair.one), id(pair.two))
        if key in self._elements:  # the same tensor may stand at many places
            self.tensors += 1
        else:
            self._elements[key] = list(self.tensors_differ(one, two))
        yield from (Change(path, c.what, c.detail, c.largest) for c in self._elements[key])
        kinds = _class(pair.one), _class(pair.two)
        if "class" not in self._ignored and kinds[0] != kinds[1]:
            yield Change(path, "class", " and ".join(kinds))
        if one.quantizer or two.quantizer:
            yield _Pair(f"{path}.quantizer", one.quantizer, two.quantizer)
        if "attributes" in self._ignored:
            return
        if one.attributes or two.attributes:
            yield _Pair(path, one.attributes, two.attributes)
        hooks = _hooks(pair.one), _hooks(pair.two)
        if any(hooks):
            yield _Pair(f"{path}.hooks", *hooks)

    def _inside(self, path: str, one: Any, two: Any) -> Iterator[_Pair | Change]:
        if isinstance(one, PersistentId):
            yield from self._storages(path, one, two)
        elif isinstance(one, Call):
            yield from self._calls(path, one, two)
        elif isinstance(one, dict):
            yield from self._share(path, ("dict", id(one)), ("dict", id(two)))
            yield from self._keyed(path, [*one.items()], [*two.items()])
            if isinstance(one, OrderedDictNode) and (one.state or two.state):
                yield _Pair(path, one.state, two.state)
        else:
            if isinstance(one, list):
                yield from self._share(path, ("list", id(one)), ("list", id(two)))
            yield from self._numbered(path, one, two)

    def _calls(self, path: str, one: Call, two: Call) -> Iterator[_Pair | Change]:
        if describe(one.function) != describe(two.function):
            yield Change(path, "value", both(one, two))
            return
        if _is_flat(one) and _is_flat(two):
            yield from self._values(path, one, two)
            return
        if not isinstance(one.function, Global):
            yield _Pair(f"{path}.function", one.function, two.function)
        yield _Pair(path, one.arguments, two.arguments)
        appended = [[v for k, v in node.items if k is APPENDED] for node in (one, two)]
        yield from self._numbered(path, *appended)
        keyed = [[item for item in node.items if item[0] is not APPENDED] for node in (one, two)]
        yield from self._keyed(path, *keyed)
        whole = isinstance(one.state, dict) and isinstance(two.state, dict)
        if one.state is not None or two.state is not None:
            yield _Pair(path if whole else f"{path}.state", one.state, two.state)

    def _numbered(self, path: str, one: Any, two: Any) -> Iterator[_Pair | Change]:
        if len(one) != len(two):
            yield Change(path, "length", f"{len(one):,} and {len(two):,}")
        for number, (a, b) in enumerate(zip(one, two, strict=False)):
            yield _Pair(_under(path, number), a, b)

    def _keyed(self, path: str, one: "_Items", two: "_Items") -> Iterator[_Pair | Change]:
        try:
            left, right = ({frozen(key): (key, value) for key, value in x} for x in (one, two))
        except NotPlainError as error:
            yield Change(path, NOT_COMPARED, f"a key: {error}")
            return
        for place in dict.fromkeys([*left, *right]):
            key, value = left.get(place) or right[place]
            name = _under(path, key)
            if place in left and place in right:
                yield _Pair(name, value, right[place][1])
            else:
                side = "first" if place in left else "second"
                yield from only(name, value, side, key)
        order = [[place for place in x if place in y] for x, y in ((left, right), (right, left))]
        if "order" not in self._ignored and order[0] != order[1]:
            yield Change(path, "order", "the same keys in another order")

    def _storages(self, path: str, one: PersistentId, two: PersistentId) -> Iterator[Change]:
        self.values += 1
        try:
            a, b = storage_of(one), storage_of(two)
        except ValueError as error:
            yield Change(path, NOT_COMPARED, str(error))
            return
        if "device" not in self._ignored and a.device != b.device:
            yield Change(path, "device", f"{a.device} and {b.device}")
        records = self._left.records.get(f"data/{a.key}"), self._right.records.get(f"data/{b.key}")
        if not (records[0] and records[1]):
            yield Change(path, NOT_COMPARED, "a storage without a record")
        elif (a.dtype, a.nbytes) != (b.dtype, b.nbytes):
            sizes = (f"{x.nbytes:,} bytes of {x.dtype}" for x in (a, b))
            yield Change(path, "storage", " and ".join(sizes))
        elif not equal_bytes(pieces_of(self._left, records[0]), pieces_of(self._right, records[1])):
            yield Change(path, "storage", "other bytes")
        yield from self._share(path, f"data/{a.key}", f"data/{b.key}", 0)

    def _share(self, path: str, one: Any, two: Any, apart: int = 0) -> Iterator[Change]:
        """Compare which earlier place has the same memory, or is the same object, in each file."""
        forward, backward = self._partners
        owner = self._owners.setdefault(("left", one), path)
        other = self._owners.setdefault(("right", two), path)
        known = forward.setdefault(one, (two, apart)), backward.setdefault(two, (one, apart))
        if "sharing" in self._ignored or known == ((two, apart), (one, apart)):
            return
        if owner == other:
            yield Change(path, "sharing", f"it lies elsewhere in the memory of {owner}")
            return
        for side, name in (("first", owner), ("second", other)):
            if name != path:
                yield Change(path, "sharing", f"one with {name} in the {side}")


def only(path: str, node: Any, side: str, key: Any = "") -> Iterator[Change]:
    """Yield what only one of the files has: each tensor, and what holds none in one piece."""
    pending = [(path, node, key)]
    while pending:
        path, node, key = pending.pop()
        found = _tensor(path, node)
        if found:
            yield Change(path, f"only in the {side}", f"{found.dtype} {found.shape}")
        elif isinstance(node, dict | list | tuple) and _holds_tensors(node):
            items = node.items() if isinstance(node, dict) else enumerate(node)
            pending += reversed([(_under(path, k), value, k) for k, value in items])
        else:
            kind = "" if isinstance(key, str) else f", under a key that is {type(key).__name__}"
            yield Change(path, f"only in the {side}", show(node) + kind)


_Items = list[tuple[Any, Any]]


def _under(path: str, key: Any) -> str:
    name = key_name(key)
    return f"{path}.{name}" if path else name


def _tensor(path: str, node: Any) -> TensorInfo | None:
    found = tensor_at(path, node) if isinstance(node, Call) and is_tensor(node) else None
    return found if isinstance(found, TensorInfo) else None


def _holds_tensors(node: Any) -> bool:
    return any(isinstance(inner, Call) and is_tensor(inner) for inner in nodes(node))


def _is_flat(node: Call) -> bool:
    """Whether it is made of a few values only, as a date or a path is."""
    if node.items or node.state is not None or not isinstance(node.arguments, tuple):
        return False
    parts = [part for x in node.arguments for part in (x if type(x) is tuple else (x,))]
    return all(is_value(plain(part)) for part in parts)


def _kind(node: Any) -> str:
    if isinstance(node, Call):
        return "a tensor" if _tensor("", node) else show(node)
    return show(node) if is_value(node) else type(node).__name__.removesuffix("Node")


def _class(node: Call) -> str:
    name = describe(node.function).rpartition(".")[2]
    if name == "_rebuild_from_type_v2":
        return describe(node.arguments[1])
    return PARAMETER if name.startswith("_rebuild_parameter") else "torch.Tensor"


def _hooks(node: Call) -> Any:
    name = describe(node.function).rpartition(".")[2]
    place = _HOOKS.get(name.removesuffix("_with_state"))
    return node.arguments[place] if place and len(node.arguments) > place else None

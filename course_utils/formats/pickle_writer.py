"""Writes a pickle from inert nodes: what `pickle.read_pickle` reads, as ``torch.save`` writes it.

Protocol 2 and no later: ``torch.load(weights_only=True)`` knows no other. What only later protocols
have (bytes, sets) becomes the call that protocol 2 has for it. What is one object in the tree is
one object in the pickle, cycles included. Nothing here recurses: trees may be deep.
"""

import struct
from collections.abc import Callable, Iterable, Iterator
from itertools import chain, groupby, islice
from typing import Any

from course_utils.formats.pickle_machine import ORDERED_DICT
from course_utils.formats.pickle_nodes import (
    APPENDED,
    Call,
    Global,
    OrderedDictNode,
    PersistentId,
    describe,
)

BATCH = 1000  # items set or appended at a time, as Python's own pickler has it
_REDUCE = {"REDUCE": b"R", "NEWOBJ": b"\x81"}


class UnwritableError(ValueError):
    """A tree holds what a pickle of ``torch.save`` never does; says what."""


def write_pickle(root: Any) -> bytes:
    """Return the pickle of a tree. Read again, it gives the same tree.

    Args:
        root: containers, numbers, strings, bytes and the nodes of `pickle_nodes`.

    Raises:
        UnwritableError: a node is none of these, or cannot be told in protocol 2.
    """
    return _Writer().write(root)


class _Writer:
    """A ``_write_…`` method yields what is to be written inside, where it is to be written."""

    def __init__(self) -> None:
        self._out = bytearray(b"\x80\x02")
        self._memo: dict[Any, int] = {}  # by the id of a node; strings and names by themselves
        self._made: list[Any] = []  # keeps what is made on the way alive, as ids are used again

    def write(self, root: Any) -> bytes:
        pending: list[Iterator[Any]] = [iter((root,))]
        while pending:
            for node in pending[-1]:
                inside = self._begin(node)
                if inside is not None:
                    pending.append(inside)
                    break
            else:
                pending.pop()
        return bytes(self._out + b".")

    def _begin(self, node: Any) -> Iterator[Any] | None:
        """Write a node, or what it begins with; then return the steps that write the rest."""
        kind = type(node)
        number = self._memo.get(node if kind in _BY_VALUE else id(node))
        if number is not None:
            self._get(number)
        elif kind in _ATOMS:
            self._out += _ATOMS[kind](node)
            if kind in _BY_VALUE:
                self._put(node)
        elif kind in _STEPS:
            return _STEPS[kind](self, node)
        else:
            raise UnwritableError(f"a {kind.__name__} ({describe(node)})")
        return None

    def _put(self, key: Any) -> None:
        number = self._memo[key] = len(self._memo)
        self._out += b"q%c" % number if number < 256 else b"r" + struct.pack("<I", number)

    def _get(self, number: int) -> None:
        self._out += b"h%c" % number if number < 256 else b"j" + struct.pack("<I", number)

    def _list(self, node: list[Any]) -> Iterator[Any]:
        self._out += b"]"
        self._put(id(node))
        yield from self._items(b"e", node)

    def _dict(self, node: dict[Any, Any]) -> Iterator[Any]:
        self._out += b"}"
        self._put(id(node))
        yield from self._items(b"u", chain.from_iterable(node.items()))

    def _items(self, opcode: bytes, flat: Iterable[Any]) -> Iterator[Any]:
        flat = iter(flat)
        while batch := list(islice(flat, 2 * BATCH)):
            self._out += b"("
            yield from batch
            self._out += opcode

    def _tuple(self, node: tuple[Any, ...]) -> Iterator[Any]:
        count = len(node)
        if count > 3:
            self._out += b"("
        yield from node
        if id(node) in self._memo:  # it is inside itself, by way of a list: written there
            self._out += b"1" if count > 3 else b"0" * count
            self._get(self._memo[id(node)])
        else:
            self._out += b")\x85\x86\x87"[count : count + 1] or b"t"
            if count:
                self._put(id(node))

    def _ordered_dict(self, node: OrderedDictNode) -> Iterator[Any]:
        yield ORDERED_DICT
        self._out += b")R"
        self._put(id(node))
        yield from self._items(b"u", chain.from_iterable(node.items()))
        yield from self._state(node.state)

    def _call(self, node: Call) -> Iterator[Any]:
        if node.opcode not in _REDUCE:
            raise UnwritableError(f"a call of {describe(node.function)} by {node.opcode}")
        if type(node.arguments) is not tuple:
            raise UnwritableError(f"a call of {describe(node.function)} without a tuple")
        yield node.function
        yield node.arguments
        if id(node) in self._memo:  # it is inside its own arguments
            self._out += b"00"
            self._get(self._memo[id(node)])
            return
        self._out += _REDUCE[node.opcode]
        self._put(id(node))
        for appended, items in groupby(node.items, lambda item: item[0] is APPENDED):
            if appended:
                yield from self._items(b"e", (value for _, value in items))
            else:
                yield from self._items(b"u", chain.from_iterable(items))
        yield from self._state(node.state)

    def _state(self, state: Any) -> Iterator[Any]:
        if state is not None:
            yield state
            self._out += b"b"

    def _persistent_id(self, node: PersistentId) -> Iterator[Any]:
        if type(node.value) is not tuple:
            raise UnwritableError(f"a reference to {describe(node.value)}, which is no storage")
        yield node.value
        self._out += b"Q"

    def _by_call(self, node: Any) -> Iterator[Any]:
        """Write a value for which protocol 2 has no instruction, as Python's pickler does."""
        function, arguments = _CALLS[type(node)](node)
        self._made.append(arguments)
        yield function
        yield arguments
        self._out += b"R"
        self._put(id(node))


def _global(node: Global) -> bytes:
    for part in (node.module, node.name):
        # A blank stands in what the pickle itself computes, and in the number of an extension.
        if not part or not part.isascii() or not part.isprintable() or " " in part:
            raise UnwritableError(f"the name {str(node)[:80]!r}")
    return f"c{node.module}\n{node.name}\n".encode()


def _text(node: str) -> bytes:
    data = node.encode("utf-8", "surrogatepass")
    if len(data) >= 2**32:
        raise UnwritableError(f"a string of {len(data):,} bytes")
    return b"X" + struct.pack("<I", len(data)) + data


def _integer(node: int) -> bytes:
    if 0 <= node < 256:
        return b"K%c" % node
    if 0 <= node < 65536:
        return b"M" + struct.pack("<H", node)
    if -(2**31) <= node < 2**31:
        return b"J" + struct.pack("<i", node)
    size = (node if node >= 0 else ~node).bit_length() // 8 + 1
    data = node.to_bytes(size, "little", signed=True)
    return b"\x8a%c" % size + data if size < 256 else b"\x8b" + struct.pack("<i", size) + data


_BY_VALUE = frozenset({str, Global})
_ATOMS: dict[type, Callable[[Any], bytes]] = {
    type(None): lambda _: b"N",
    bool: lambda node: b"\x88" if node else b"\x89",
    int: _integer,
    float: lambda node: b"G" + struct.pack(">d", node),
    str: _text,
    Global: _global,
}
_STEPS: dict[type, Callable[[_Writer, Any], Iterator[Any]]] = {
    list: _Writer._list,
    tuple: _Writer._tuple,
    dict: _Writer._dict,
    OrderedDictNode: _Writer._ordered_dict,
    Call: _Writer._call,
    PersistentId: _Writer._persistent_id,
    **dict.fromkeys((bytes, bytearray, set, frozenset), _Writer._by_call),
}
_CALLS: dict[type, Callable[[Any], tuple[Global, tuple[Any, ...]]]] = {
    bytes: lambda node: (Global("_codecs", "encode"), (node.decode("latin1"), "latin1")),
    bytearray: lambda node: (
        Global("__builtin__", "bytearray"),
        (node.decode("latin1"), "latin-1"),
    ),
    set: lambda node: (Global("__builtin__", "set"), ([*node],)),
    frozenset: lambda node: (Global("__builtin__", "frozenset"), ([*node],)),
}

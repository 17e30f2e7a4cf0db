"""The plain values that nodes stand for, where protocol 2 of pickle has no instruction for them."""

from typing import Any

from course_utils.formats.pickle_nodes import Call, describe


def plain(node: Any) -> Any:
    """Return the value that a call stands for, where protocol 2 has no instruction for it.

    Bytes and complex numbers; sets come as `SetOf`. Every other node is returned as it is.
    """
    if isinstance(node, set | frozenset):
        return SetOf(isinstance(node, frozenset), node)
    if not isinstance(node, Call) or node.state is not None or node.items:
        return node
    name, arguments = called(node), node.arguments
    match name, arguments:
        case "_codecs.encode", (str(text), "latin1" | "latin-1"):
            return _encoded(text, node)
        case "builtins.bytearray", (str(text), "latin1" | "latin-1"):
            return _encoded(text, node, bytearray)
        case "builtins.bytes" | "builtins.bytearray", ():
            return b"" if name.endswith("bytes") else bytearray()
        case (("builtins.set" | "builtins.frozenset"), (list() | tuple() as items,)):
            return SetOf(name.endswith("frozenset"), items)
        case "builtins.complex", (int() | float() as real, int() | float() as imaginary):
            return complex(real, imaginary)
    return node


class SetOf:
    """A set, by its elements: they may be nodes, which have no equality of their own."""

    def __init__(self, is_frozen: bool, items: Any) -> None:
        self.is_frozen, self.items = is_frozen, items

    def __repr__(self) -> str:
        return f"<{'frozenset' if self.is_frozen else 'set'} of {len(self.items):,}>"


def called(node: Call) -> str:
    """Return what a call calls; what is in builtins by its name since Python 3."""
    return describe(node.function).replace("__builtin__.", "builtins.")


def _encoded(text: str, node: Call, kind: type = bytes) -> Any:
    try:
        return kind(text.encode("latin1"))
    except UnicodeEncodeError:
        return node

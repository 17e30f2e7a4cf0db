"""What differs between two files, and how it is put into words."""

from typing import Any, NamedTuple

from course_utils.formats.pickle_nodes import Call, OrderedDictNode, describe
from course_utils.formats.plain_nodes import SetOf, plain

LONGEST = 60  # characters of a value that are shown


class Change(NamedTuple):
    """One place at which two files differ, or cannot be compared.

    Attributes:
        name: dotted path of the tensor or value.
        what: for example "only in the first", "shape", "elements"; "not compared" where nothing
            can be said.
        detail: the two shapes, or how many elements differ.
        largest: the largest absolute difference of two elements; None where none were compared,
            NaN where a number stands against NaN.
    """

    name: str
    what: str
    detail: str
    largest: float | None = None


NOT_COMPARED = "not compared"


def both(one: Any, two: Any) -> str:
    """Say what two values are."""
    first, second = show(one), show(two)
    return f"{first} and {second}" if first != second else f"{first}, and they differ further on"


def show(node: Any, depth: int = 0) -> str:
    """Return a node as Python would write it, shortened."""
    node = plain(node)
    if isinstance(node, bytes | bytearray):
        more = f"… ({len(node):,} bytes)" if len(node) > 16 else ""
        return repr(node[:16]) + more
    if isinstance(node, str):
        more = f"… ({len(node):,} characters)" if len(node) > LONGEST else ""
        return repr(node[:LONGEST]) + more
    if isinstance(node, SetOf):
        items = sorted(node.items, key=show)  # the order of a set changes from run to run
        return f"{{{_listed(items, depth)}}}" if depth < 2 else "a set"
    if isinstance(node, tuple | list) and depth < 2:
        return ("[{}]" if isinstance(node, list) else "({})").format(_listed(node, depth))
    if isinstance(node, Call) and depth < 2 and isinstance(node.arguments, tuple):
        return f"{describe(node.function)}({_listed(node.arguments, depth)})"
    if isinstance(node, dict):
        kind = "OrderedDict" if isinstance(node, OrderedDictNode) else "dict"
        return f"{kind} of {len(node):,}"
    return repr(node) if isinstance(node, complex) else describe(node)


def _listed(items: Any, depth: int) -> str:
    shown = [show(item, depth + 1) for item in list(items)[:4]]
    return ", ".join(shown) + (f", … ({len(items):,})" if len(items) > 4 else "")

"""What a pickle would build, as plain nodes: nothing is imported, nothing is called."""

from typing import Any


class MalformedPickleError(ValueError):
    """The bytes are not a pickle that any unpickler would read to its end."""


class NotReadError(MalformedPickleError):
    """The pickle may well be what was written: it is not followed here, whatever it holds."""


class TooMuchError(NotReadError):
    """The pickle asks for more work than any checkpoint is known to need."""


class Global:
    """A function or class that loading would import.

    Attributes:
        module: where it would be looked for.
        name: its name there.
        path: both, as ``module.name``.
    """

    __slots__ = ("module", "name", "path")

    def __init__(self, module: str, name: str) -> None:
        self.module, self.name = module, name
        self.path = f"{module}.{name}"  # made once, asked for often

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Global) and (self.module, self.name) == (other.module, other.name)

    def __hash__(self) -> int:
        return hash((self.module, self.name))

    def __repr__(self) -> str:
        return f"Global({self.module!r}, {self.name!r})"

    def __str__(self) -> str:
        return self.path


class Call:
    """An object that loading would make by calling ``function(*arguments)``.

    Attributes:
        function: what would be called; a `Global`, unless the pickle plays tricks.
        arguments: what it would be called with; a tuple, unless the pickle plays tricks.
        opcode: the instruction that calls it. ``NEWOBJ`` calls only ``function.__new__``.
        state: what ``__setstate__`` or ``__dict__`` would get afterwards, or None.
        items: keys and values that would be set on it, or items appended (with key `APPENDED`).
    """

    __slots__ = ("arguments", "function", "items", "opcode", "state")

    def __init__(
        self, function: Any, arguments: Any, opcode: str = "REDUCE", state: Any = None
    ) -> None:
        self.function, self.arguments, self.opcode = function, arguments, opcode
        self.state = state
        self.items: list[tuple[Any, Any]] = []

    def __repr__(self) -> str:
        return f"<a call of {describe(self.function)}>"  # not of what is inside: may be deep


class PersistentId:
    """A reference to something outside the pickle; in a ``.pt`` file, to a storage."""

    __slots__ = ("value",)

    def __init__(self, value: Any) -> None:
        self.value = value

    def __repr__(self) -> str:
        return "<a persistent id>"


class Twice(tuple[Any, Any]):
    """Two states, where a pickle sets a second one on an object after the first."""


class Appended:
    """Stands for the key of what would be appended to an object, not set under a key."""

    def __repr__(self) -> str:
        return "appended"


APPENDED = Appended()


class OrderedDictNode(dict[Any, Any]):
    """A ``collections.OrderedDict`` with the attributes that loading would set on it."""

    state: Any = None


def describe(value: Any) -> str:
    """Say in a few characters what a node is; never recurses, whatever the node holds."""
    if isinstance(value, Global):
        return value.path
    if value is None or isinstance(value, bool | float | Appended):
        return str(value)
    if isinstance(value, str):
        return repr(value[:60])
    if isinstance(value, int):
        return str(value) if abs(value) < 2**64 else "a huge integer"
    return f"<{type(value).__name__}>"

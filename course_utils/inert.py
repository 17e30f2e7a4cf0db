"""What a pickle would build, as plain nodes: nothing is imported, nothing is called."""

from dataclasses import dataclass, field
from typing import Any


class MalformedPickleError(ValueError):
    """The bytes are not a pickle that any unpickler would read to its end."""


@dataclass(frozen=True, slots=True)
class Global:
    """A function or class that loading would import."""

    module: str
    name: str

    def __str__(self) -> str:
        return f"{self.module}.{self.name}"


@dataclass(eq=False, slots=True)
class Call:
    """An object that loading would make by calling ``function(*arguments)``.

    Attributes:
        function: what would be called; a `Global`, unless the pickle plays tricks.
        arguments: what it would be called with; a tuple, unless the pickle plays tricks.
        state: what ``__setstate__`` or ``__dict__`` would get afterwards, or None.
        items: keys and values that would be set on it, or items appended (with key None).
    """

    function: Any
    arguments: Any
    state: Any = None
    items: list[tuple[Any, Any]] = field(default_factory=list)


@dataclass(eq=False, slots=True)
class PersistentId:
    """A reference to something outside the pickle; in a ``.pt`` file, to a storage."""

    value: Any


class OrderedDictNode(dict[Any, Any]):
    """A ``collections.OrderedDict`` with the attributes that loading would set on it."""

    state: Any = None

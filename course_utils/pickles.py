"""Reads a pickle without running it: the stack machine of pickle, over inert nodes.

The opcodes are those of the standard library's ``pickletools``, which documents each one.
Time and memory are bounded by the length of the pickle.
"""

import io
import pickletools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from course_utils.inert import (
    Call,
    Global,
    MalformedPickleError,
    OrderedDictNode,
    PersistentId,
)

ORDERED_DICT = Global("collections", "OrderedDict")
KEY_DEPTH = 16  # tuples in keys; hashing one that is nested a million deep would crash Python


@dataclass(frozen=True, slots=True)
class Opcode:
    """One instruction of a pickle: its byte position, name and argument (None without one)."""

    position: int
    name: str
    argument: Any


@dataclass
class Pickle:
    """What a pickle would build, and what it would import.

    Attributes:
        root: the object, as plain containers and inert nodes.
        globals: everything it would import, called or not.
        length: bytes up to and with the STOP opcode.
    """

    root: Any
    globals: set[Global] = field(default_factory=set)
    length: int = 0


def read_pickle(data: bytes) -> Pickle:
    """Follow a pickle's instructions, building inert nodes in place of objects.

    Raises:
        MalformedPickleError: it is truncated, or an instruction makes no sense.
    """
    return _Machine().run(data)


def opcodes(data: bytes) -> Iterator[Opcode]:
    """Yield the pickle's instructions.

    Raises:
        MalformedPickleError: the bytes stop making sense before STOP.
    """
    try:
        for opcode, argument, position in pickletools.genops(io.BytesIO(data)):
            yield Opcode(position or 0, opcode.name, argument)
    except MalformedPickleError:
        raise
    except Exception as error:  # genops raises what its decoders raise: many types
        raise MalformedPickleError(f"not a readable pickle: {error}") from None


class _Machine:
    """The unpickler's stack, marks and memo."""

    def __init__(self) -> None:
        self.stack: list[Any] = []
        self.marks: list[list[Any]] = []  # the stacks set aside by MARK
        self.memo: dict[int, Any] = {}
        self.globals: set[Global] = set()

    def run(self, data: bytes) -> Pickle:
        position = 0
        try:
            for opcode, argument, at in pickletools.genops(io.BytesIO(data)):
                name, position = opcode.name, at or 0
                push = _PUSH.get(name)
                if name in _LITERALS:
                    self.stack.append(argument)
                elif push is not None:
                    self.stack.append(push(argument))
                elif name == "STOP":
                    return Pickle(self.stack.pop(), self.globals, position + 1)
                else:
                    _ACT[name](self, argument)
        except MalformedPickleError:
            raise
        except Exception as error:  # a stack that is empty, a memo without the entry, …
            problem = f"{type(error).__name__}: {error}"
            raise MalformedPickleError(f"unreadable near byte {position}: {problem}") from None
        raise MalformedPickleError("the pickle has no end")

    def pop_mark(self) -> list[Any]:
        items = self.stack
        self.stack = self.marks.pop()
        return items

    def mark(self, _: Any) -> None:
        self.marks.append(self.stack)
        self.stack = []

    def pop(self, _: Any) -> None:
        if self.stack:
            self.stack.pop()
        else:
            self.pop_mark()

    def drop_mark(self, _: Any) -> None:
        self.pop_mark()

    def put(self, number: int) -> None:
        self.memo[number] = self.stack[-1]

    def memoize(self, _: Any) -> None:
        self.memo[len(self.memo)] = self.stack[-1]

    def get(self, number: int) -> None:
        self.stack.append(self.memo[number])

    def take(self, count: int) -> tuple[Any, ...]:
        if len(self.stack) < count:
            raise MalformedPickleError("the stack is empty where a value is needed")
        taken = tuple(self.stack[len(self.stack) - count :])
        del self.stack[len(self.stack) - count :]
        return taken

    def import_pair(self, argument: str) -> None:
        self.push_global(*argument.split(" ", 1))

    def import_from_stack(self, _: Any) -> None:
        self.push_global(*self.take(2))

    def import_extension(self, code: int) -> None:
        self.push_global("copyreg extension", str(code))

    def push_global(self, module: Any, name: Any) -> None:
        if not (isinstance(module, str) and isinstance(name, str)):
            # A name computed by the pickle itself cannot be known without running it.
            module, name = _computed(module), _computed(name)
        found = Global(module, name)
        self.globals.add(found)
        self.stack.append(found)

    def reduce(self, _: Any) -> None:
        self.call(*self.take(2))

    def new_object(self, _: Any) -> None:
        self.call(*self.take(2))

    def new_object_with_keywords(self, _: Any) -> None:
        function, arguments, keywords = self.take(3)
        self.call(function, (*_as_tuple(arguments), keywords))

    def instance(self, argument: str) -> None:
        arguments = tuple(self.pop_mark())
        self.import_pair(argument)
        self.call(self.stack.pop(), arguments)

    def object(self, _: Any) -> None:
        function, *arguments = self.pop_mark()
        self.call(function, tuple(arguments))

    def call(self, function: Any, arguments: Any) -> None:
        plain = function == ORDERED_DICT and arguments == ()
        self.stack.append(OrderedDictNode() if plain else Call(function, arguments))

    def build(self, _: Any) -> None:
        (state,) = self.take(1)
        target = self.stack[-1]
        if not isinstance(target, Call | OrderedDictNode):
            raise MalformedPickleError(f"sets attributes on a {type(target).__name__}")
        # A second BUILD would run a second __setstate__: keep both.
        target.state = state if target.state is None else (target.state, state)

    def append(self, _: Any) -> None:
        self.extend_top([self.stack.pop()])

    def appends(self, _: Any) -> None:
        self.extend_top(self.pop_mark())

    def extend_top(self, values: list[Any]) -> None:
        target = self.stack[-1]
        if isinstance(target, list):
            target.extend(values)
        elif isinstance(target, set):
            target.update(map(_key, values))
        elif isinstance(target, Call):
            target.items.extend((None, value) for value in values)
        else:
            raise MalformedPickleError(f"appends to a {type(target).__name__}")

    def set_item(self, _: Any) -> None:
        self.set_pairs(list(self.take(2)))

    def set_items(self, _: Any) -> None:
        self.set_pairs(self.pop_mark())

    def set_pairs(self, flat: list[Any]) -> None:
        target = self.stack[-1]
        pairs = zip(flat[::2], flat[1::2], strict=True)
        if isinstance(target, dict):
            for key, value in pairs:
                target[key if type(key) is str else _key(key)] = value
        elif isinstance(target, Call):
            target.items.extend(pairs)
        else:
            raise MalformedPickleError(f"sets items on a {type(target).__name__}")

    def persistent(self, _: Any) -> None:
        self.stack.append(PersistentId(self.stack.pop()))

    def make_dict(self, _: Any) -> None:
        flat = self.pop_mark()
        self.stack.append({})
        self.set_pairs(flat)


def _key(value: Any, depth: int = KEY_DEPTH) -> Any:
    """Return a value that can be hashed without harm, or refuse it."""
    if value is None or isinstance(value, str | int | float | bytes | complex):
        return value
    if isinstance(value, Global | Call | PersistentId):
        return value
    if isinstance(value, tuple) and depth:
        return tuple(_key(item, depth - 1) for item in value)
    raise MalformedPickleError(f"uses a {type(value).__name__} as a key")


def _as_tuple(value: Any) -> tuple[Any, ...]:
    return value if isinstance(value, tuple) else (value,)


def _computed(value: Any) -> str:
    return value if isinstance(value, str) else f"<computed {type(value).__name__}>"


def _wrap(make: Callable[[list[Any]], Any]) -> Callable[[_Machine, Any], None]:
    def act(machine: _Machine, _: Any) -> None:
        made = make(machine.pop_mark())  # first: it brings back the stack to append to
        machine.stack.append(made)

    return act


def _tuple_of(count: int) -> Callable[[_Machine, Any], None]:
    return lambda machine, _: machine.stack.append(machine.take(count))


def _nothing(machine: _Machine, _: Any) -> None:
    pass


# Opcodes whose argument is the value they push.
_LITERALS = frozenset(
    """INT BININT BININT1 BININT2 LONG LONG1 LONG4 FLOAT BINFLOAT STRING BINSTRING
    SHORT_BINSTRING BINBYTES SHORT_BINBYTES BINBYTES8 BYTEARRAY8 UNICODE BINUNICODE
    SHORT_BINUNICODE BINUNICODE8""".split()  # noqa: SIM905 - a list would take a line each
)

# Opcodes that push a new value.
_PUSH: dict[str, Callable[[Any], Any]] = {
    "NONE": lambda _: None,
    "NEWTRUE": lambda _: True,
    "NEWFALSE": lambda _: False,
    "EMPTY_DICT": lambda _: {},
    "EMPTY_LIST": lambda _: [],
    "EMPTY_TUPLE": lambda _: (),
    "EMPTY_SET": lambda _: set(),
    "PERSID": PersistentId,
    "NEXT_BUFFER": lambda _: PersistentId("out-of-band buffer"),
}

# Opcodes that act on the stack.
_ACT: dict[str, Callable[[_Machine, Any], None]] = {
    **dict.fromkeys(("PROTO", "FRAME", "READONLY_BUFFER"), _nothing),
    "MARK": _Machine.mark,
    "POP": _Machine.pop,
    "POP_MARK": _Machine.drop_mark,
    "DUP": lambda machine, _: machine.stack.append(machine.stack[-1]),
    **dict.fromkeys(("PUT", "BINPUT", "LONG_BINPUT"), _Machine.put),
    "MEMOIZE": _Machine.memoize,
    **dict.fromkeys(("GET", "BINGET", "LONG_BINGET"), _Machine.get),
    "GLOBAL": _Machine.import_pair,
    "STACK_GLOBAL": _Machine.import_from_stack,
    **dict.fromkeys(("EXT1", "EXT2", "EXT4"), _Machine.import_extension),
    "REDUCE": _Machine.reduce,
    "NEWOBJ": _Machine.new_object,
    "NEWOBJ_EX": _Machine.new_object_with_keywords,
    "INST": _Machine.instance,
    "OBJ": _Machine.object,
    "BUILD": _Machine.build,
    "APPEND": _Machine.append,
    "APPENDS": _Machine.appends,
    "ADDITEMS": _Machine.appends,
    "SETITEM": _Machine.set_item,
    "SETITEMS": _Machine.set_items,
    "BINPERSID": _Machine.persistent,
    "DICT": _Machine.make_dict,
    "LIST": _wrap(list),
    "TUPLE": _wrap(tuple),
    "FROZENSET": _wrap(lambda items: frozenset(map(_key, items))),
    "TUPLE1": _tuple_of(1),
    "TUPLE2": _tuple_of(2),
    "TUPLE3": _tuple_of(3),
}

"""The instructions of a pickle, and the loop that follows them.

The opcodes are those of the standard library's ``pickletools``, which documents each one.
"""

import pickletools
from collections.abc import Callable
from typing import Any, BinaryIO

from course_utils.formats.pickle_arguments import reader_of
from course_utils.formats.pickle_machine import Machine
from course_utils.formats.pickle_nodes import MalformedPickleError, TooMuchError

MAX_OPCODES = 200_000_000  # a checkpoint of 20,000 tensors has 600,000


def run(machine: Machine, file: BinaryIO) -> Any:
    """Follow the instructions in a file up to STOP, and return the object.

    Raises:
        Exception: of any type, where an unpickler would stop too; the file's position says where.
    """
    read, find = file.read, _INSTRUCTIONS.get
    for _ in range(MAX_OPCODES):
        code = read(1)
        act = find(code)
        if act is None:
            raise MalformedPickleError(
                f"{code!r} is no instruction" if code else "it is exhausted before its end"
            )
        act(machine, file)
        if machine.frame_end is not None:
            machine.check_frame(file.tell())
        if code == b".":
            machine.check_end()
            return machine.stack.pop()
    raise TooMuchError(f"it has more than {MAX_OPCODES:,} instructions")


def _wrap(make: Callable[[list[Any]], Any]) -> Callable[[Machine, Any], None]:
    def act(machine: Machine, _: Any) -> None:
        made = make(machine.pop_mark())  # first: it brings back the stack to append to
        machine.stack.append(made)

    return act


def _frozen_set(machine: Machine, _: Any) -> None:
    items = machine.pop_mark()
    machine.stack.append(frozenset(map(machine.key, items)))


def _tuple_of(count: int) -> Callable[[Machine, Any], None]:
    return lambda machine, _: machine.stack.append(machine.take(count))


def _drop_mark(machine: Machine, _: Any) -> None:
    machine.pop_mark()


def _nothing(machine: Machine, _: Any) -> None:
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
}

# Opcodes that act on the stack.
_ACT: dict[str, Callable[[Machine, Any], None]] = {
    **dict.fromkeys(("READONLY_BUFFER", "STOP"), _nothing),
    "PROTO": Machine.protocol,
    "FRAME": Machine.frame,
    "MARK": Machine.mark,
    "POP": Machine.pop,
    "POP_MARK": _drop_mark,
    "DUP": lambda machine, _: machine.stack.append(machine.stack[-1]),
    **dict.fromkeys(("PUT", "BINPUT", "LONG_BINPUT"), Machine.put),
    "MEMOIZE": Machine.memoize,
    **dict.fromkeys(("GET", "BINGET", "LONG_BINGET"), Machine.get),
    "GLOBAL": Machine.import_pair,
    "STACK_GLOBAL": Machine.import_from_stack,
    **dict.fromkeys(("EXT1", "EXT2", "EXT4"), Machine.import_extension),
    "REDUCE": Machine.reduce,
    "NEWOBJ": Machine.new_object,
    "NEWOBJ_EX": Machine.new_object_with_keywords,
    "INST": Machine.instance,
    "OBJ": Machine.object,
    "BUILD": Machine.build,
    "APPEND": Machine.append,
    "APPENDS": Machine.appends,
    "ADDITEMS": Machine.appends,
    "SETITEM": Machine.set_item,
    "SETITEMS": Machine.set_items,
    "PERSID": lambda machine, value: machine.refer_to(value),
    "BINPERSID": Machine.refer,
    "NEXT_BUFFER": lambda machine, _: machine.refer_to("out-of-band buffer"),
    "DICT": Machine.make_dict,
    "LIST": _wrap(list),
    "TUPLE": _wrap(tuple),
    "FROZENSET": _frozen_set,
    "TUPLE1": _tuple_of(1),
    "TUPLE2": _tuple_of(2),
    "TUPLE3": _tuple_of(3),
}


def _action(name: str) -> Callable[[Machine, Any], None]:
    make = _PUSH.get(name)
    if name in _LITERALS:
        return Machine.push
    if make is not None:
        return lambda machine, _: machine.stack.append(make(None))
    return _ACT[name]


def _handler(opcode: pickletools.OpcodeInfo) -> Callable[[Machine, BinaryIO], None]:
    read, act = reader_of(opcode), _action(opcode.name)
    if read is None:
        return act  # it makes nothing of the file
    return lambda machine, file: act(machine, read(file))


def _put_short(machine: Machine, file: BinaryIO) -> None:
    machine.memo[file.read(1)[0]] = machine.stack[-1]


def _get_short(machine: Machine, file: BinaryIO) -> None:
    machine.stack.append(machine.memo[file.read(1)[0]])


def _put_long(machine: Machine, file: BinaryIO) -> None:
    # Cut short, it is a wrong number, and the next instruction is missing: that is told.
    machine.memo[int.from_bytes(file.read(4), "little")] = machine.stack[-1]


def _small_integer(machine: Machine, file: BinaryIO) -> None:
    machine.stack.append(file.read(1)[0])


def _text(machine: Machine, file: BinaryIO) -> None:
    length = int.from_bytes(file.read(4), "little")
    data = file.read(length)
    if len(data) < length:
        raise MalformedPickleError("it ends within a value")
    machine.stack.append(data.decode("utf-8", "surrogatepass"))


def _tuple(machine: Machine, _: BinaryIO) -> None:
    items = tuple(machine.stack)
    machine.stack = machine.marks.pop()
    machine.stack.append(items)


def _mark(machine: Machine, _: BinaryIO) -> None:
    machine.marks.append(machine.stack)
    machine.stack = []


# What each opcode does. Of a checkpoint's opcodes three in four are one of the last seven.
_INSTRUCTIONS: dict[bytes, Callable[[Machine, BinaryIO], None]] = {
    **{opcode.code.encode("latin1"): _handler(opcode) for opcode in pickletools.opcodes},
    b"q": _put_short,
    b"h": _get_short,
    b"r": _put_long,
    b"K": _small_integer,
    b"X": _text,
    b"(": _mark,
    b"t": _tuple,
}

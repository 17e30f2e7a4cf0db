"""What follows the opcodes of a pickle: reads their arguments as CPython's unpickler does."""

import codecs
import pickletools
import struct
from collections.abc import Callable
from typing import Any, BinaryIO

from course_utils.formats.pickle_nodes import MalformedPickleError


def reader_of(opcode: pickletools.OpcodeInfo) -> Callable[[BinaryIO], Any] | None:
    """Return what reads an opcode's argument from a file; None for an opcode without one."""
    if opcode.name in _ARGUMENTS:
        return _ARGUMENTS[opcode.name]
    return opcode.arg.reader if opcode.arg else None


def _names(file: BinaryIO) -> tuple[str, str]:
    """Read two lines; where the file ends within them, one of CPython's unpicklers takes that."""
    return file.readline()[:-1].decode(), file.readline()[:-1].decode()


def _exactly(file: BinaryIO, count: int) -> bytes:
    data = file.read(count)
    if len(data) < count:
        raise MalformedPickleError("it ends within a value")
    return data


def _unsigned(size: int) -> Callable[[BinaryIO], int]:
    return lambda file: int.from_bytes(_exactly(file, size), "little")


def _text(size: int) -> Callable[[BinaryIO], str]:
    length = _unsigned(size)
    return lambda file: _exactly(file, length(file)).decode("utf-8", "surrogatepass")


def _old_text(data: bytes) -> str | bytes:
    """Return a string of Python 2 as ``torch.load`` does; what is no UTF-8 stays bytes."""
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        return data


def _old_string(size: int) -> Callable[[BinaryIO], str | bytes]:
    length = _unsigned(size)
    return lambda file: _old_text(_exactly(file, length(file)))


def _quoted(file: BinaryIO) -> str | bytes:
    quoted = pickletools.read_stringnl(file, decode=False, stripquotes=True)
    return _old_text(codecs.escape_decode(quoted)[0])


def _frame_end(file: BinaryIO) -> int:
    length = int.from_bytes(_exactly(file, 8), "little")
    return file.tell() + length


# What follows an opcode; pickletools reads the rest, which are rare.
_ARGUMENTS: dict[str, Callable[[BinaryIO], Any]] = {
    **dict.fromkeys(("BINPUT", "BINGET", "BININT1", "PROTO"), lambda file: file.read(1)[0]),
    "BININT2": _unsigned(2),
    **dict.fromkeys(("LONG_BINPUT", "LONG_BINGET"), _unsigned(4)),
    "BININT": lambda file: int.from_bytes(_exactly(file, 4), "little", signed=True),
    "BINFLOAT": lambda file: struct.unpack(">d", _exactly(file, 8))[0],
    "SHORT_BINUNICODE": _text(1),
    "BINUNICODE": _text(4),
    **dict.fromkeys(("GLOBAL", "INST"), _names),
    "STRING": _quoted,
    "SHORT_BINSTRING": _old_string(1),
    "BINSTRING": _old_string(4),
    "FRAME": _frame_end,
}

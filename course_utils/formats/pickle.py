"""Reads a pickle without running it.

Time and memory are bounded by the length of the pickle.
"""

import io
import pickletools
from collections.abc import Iterator, Sequence
from typing import Any, BinaryIO, NamedTuple

from course_utils.formats.pickle_instructions import run
from course_utils.formats.pickle_machine import Machine
from course_utils.formats.pickle_nodes import (
    Call,
    Global,
    MalformedPickleError,
    PersistentId,
    TooMuchError,
)
from course_utils.formats.source import Window

HIGHEST = b"\x05"  # protocol of pickles; Python 3.14 has no later one

AT_ONCE = (1 << 20, 64 << 20)  # bytes read ahead, and more if that is not the end of a pickle


class Opcode(NamedTuple):
    """One instruction of a pickle: its byte position, name and argument (None without one)."""

    position: int
    name: str
    argument: Any


class Pickle(NamedTuple):
    """What a pickle would build, import and call.

    Attributes:
        root: the object, as plain containers and inert nodes.
        globals: everything it would import, called or not.
        calls: everything it would call, in order, thrown away afterwards or not.
        persistent: every reference to something outside.
        length: bytes up to and with the STOP opcode, or up to where it stops making sense.
        problem: why it stops making sense; None for a pickle that can be read to its end.
        changed: what it would import and then change: a class, say, or a dict of a module.
        too_much: whether the problem is only that it asks for too much work.
        doubtful: whether some unpickler may read other instructions than those that were read here.
    """

    root: Any
    globals: set[Global]
    calls: list[Call]
    persistent: list[PersistentId]
    length: int
    problem: str | None = None
    changed: Sequence[Any] = ()
    too_much: bool = False
    doubtful: bool = False


def begins_pickle(start: bytes) -> bool:
    """Whether bytes begin as pickles do since protocol 2: with a protocol that there is.

    Unpicklers refuse any other number, and MessagePack and plain numbers may begin with 0x80 too.
    """
    return start[:1] == b"\x80" and start[1:2] <= HIGHEST and len(start) > 1


def read_pickle(data: bytes) -> Pickle:
    """Follow a pickle's instructions, building inert nodes in place of objects.

    Raises:
        MalformedPickleError: it is truncated, or an instruction makes no sense.
        TooMuchError: it asks for more work than a checkpoint needs.
    """
    content = scan_pickle(io.BytesIO(data))
    if content.too_much:
        raise TooMuchError(content.problem)
    if content.problem or content.changed:
        raise MalformedPickleError(content.problem or f"changes {content.changed[0]}")
    return content


def scan_pickle(file: BinaryIO, machine: Machine | None = None) -> Pickle:
    """Follow a pickle as far as it goes, and say what it would have done up to there.

    A pickle runs while it is read: one that is cut off has already made its first calls.

    Args:
        file: is read from its position on, and left after the pickle. Its ``read`` must not
            make room for more bytes than there are.
        machine: carries out the instructions, fresh.
    """
    start = file.tell()
    machine = machine or Machine()
    root = problem = None
    try:
        root = run(machine, file)
    except MalformedPickleError as error:
        problem = str(error)
        machine.too_much |= isinstance(error, TooMuchError)
    except Exception as error:  # a stack that is empty, a memo without the entry, …
        problem = f"unreadable near byte {file.tell() - start}: {type(error).__name__}: {error}"
    crossed = machine.frame_end is not None and file.tell() > machine.frame_end
    return Pickle(
        root, machine.globals, machine.calls, machine.persistent, file.tell() - start,
        machine.problem or problem, machine.changed, machine.too_much,
        machine.frames_disagree or crossed,
    )  # fmt: skip


def scan_next(file: Window, machine: Machine | None = None) -> Pickle:
    """Do as `scan_pickle`, but read the pickle's bytes at once if there are not too many.

    Args:
        file: is left after the pickle.
        machine: of a class that can be made without arguments, or by its own ``fresh``.
    """
    start = file.tell()
    for count in AT_ONCE:
        data = file.read_at(start, count)
        content = scan_pickle(io.BytesIO(data), machine.fresh() if machine else None)
        if not content.problem or start + len(data) >= file.size:
            file.seek(start + content.length)
            return content
    file.seek(start)
    return scan_pickle(file, machine)


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

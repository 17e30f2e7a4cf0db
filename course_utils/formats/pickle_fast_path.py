"""Follows the thirty instructions of a tensor at once, where they are spelled as usual.

Most of a large checkpoint's pickle is one row of instructions over and over: that of
``torch._utils._rebuild_tensor_v2``. To read it by one regular expression takes a third of the time.
What comes of it is what the instructions one by one make: in the tests each is held against the
other. Whatever is spelled in another way is left to them.
"""

import re
from collections.abc import Callable
from functools import lru_cache
from io import BytesIO
from typing import Any

from course_utils.formats.pickle_machine import ORDERED_DICT, Machine
from course_utils.formats.pickle_nodes import Global, OrderedDictNode

REBUILD = Global("torch._utils", "_rebuild_tensor_v2")
_INTEGER = rb"(?:K.|M..|J.{3}[\0-\x7f])"
_PUT = rb"r(.{4})"
_SIZES = (
    rb"(?:\)|((?:" + _INTEGER + rb"){1,3}[\x85-\x87]|\((?:" + _INTEGER + rb")+t)" + _PUT + rb")"
)
# A storage: memoized names, its key, its device, its length; then offset, shape and stride, whether
# it has a gradient, no hooks. Each "r" keeps what was made.
_TENSOR = re.compile(
    rb"h(.)\(\(h(.)h(.)X(.)\0\0\0([0-9]+)" + _PUT + rb"h(.)(" + _INTEGER + rb")t" + _PUT + rb"Q("
    + _INTEGER + rb")" + _SIZES + _SIZES + rb"([\x88\x89])h(.)\)R" + _PUT + rb"t" + _PUT + rb"R"
    + _PUT,
    re.DOTALL,
)  # fmt: skip


def fast_path(
    machine: Machine, file: Any, otherwise: Callable[[Machine, Any], None]
) -> Callable[[Machine, Any], None]:
    """Return what to do at an instruction that gets a value by a short number from the memo.

    Args:
        machine: carries out the instructions.
        file: holds them; those in a `BytesIO` are read at once.
        otherwise: carries out this one alone.
    """
    if type(machine) is not Machine or not isinstance(file, BytesIO):
        return otherwise
    data = file.getvalue()

    def act(machine: Machine, file: Any) -> None:
        start = file.tell()
        found = None
        if data.startswith(b"((", start + 1) and machine.frame_end is None:
            found = _TENSOR.match(data, start - 1)
        if found and _follow(machine, found.groups()):
            file.seek(found.end())
        else:
            otherwise(machine, file)

    return act


def _follow(machine: Machine, parts: tuple[bytes, ...]) -> bool:
    """Do what the instructions do; return whether they were those of a tensor."""
    rebuild, word, kind, length, key, at_key, device, count, at_storage, offset, *rest = parts
    shape, at_shape, stride, at_stride, grad, hooks, *last = rest
    memo = machine.memo
    names = [memo.get(number[0]) for number in (rebuild, word, kind, device, hooks)]
    puts = [_number(p) for p in (at_key, at_storage, at_shape, at_stride, *last) if p]
    first = puts[0]
    sizes = [_sizes(code) for code in (shape, stride)]
    if (
        length[0] != len(key)
        or names[0] != REBUILD
        or names[4] != ORDERED_DICT
        or None in names
        or None in sizes
        or first < 256  # else a number given here might be one that was asked for
        or puts != list(range(first, first + len(puts)))
    ):
        return False
    made = [tuple(of or ()) for of in sizes]
    storage = (names[1], names[2], key.decode(), names[3], _number(count[1:]))
    machine.refer_to(storage)
    dictionary = OrderedDictNode()
    arguments = (
        machine.stack.pop(), _number(offset[1:]), *made, grad == b"\x88", dictionary
    )  # fmt: skip
    machine.call(names[0], arguments, "REDUCE")
    kept = (*filter(None, made), dictionary, arguments, machine.stack[-1])
    memo.update(zip(puts, (storage[2], storage, *kept), strict=True))
    return True


def _number(code: bytes) -> int:
    return int.from_bytes(code, "little")


@lru_cache(1000)
def _sizes(code: bytes | None) -> list[int] | None:
    """Return the integers of a tuple; None if it takes another number of them than there are."""
    if not code:
        return []
    sizes, place = [], int(code[0] == ord("("))
    while place < len(code) - 1:
        width = _WIDTHS[code[place]]
        sizes.append(_number(code[place + 1 : place + width]))
        place += width
    return sizes if code[-1] in (ord("t"), _TUPLE_OF_NONE + len(sizes)) else None


_WIDTHS = {ord("K"): 2, ord("M"): 3, ord("J"): 5}
_TUPLE_OF_NONE = 0x84  # the opcode before that of a tuple of one

"""The format that PyTorch wrote before 1.6: a row of pickles, then the storages.

The layout is that of ``torch.serialization._legacy_load``. Numbers are little-endian whatever the
machine was: torch swapped them when it wrote. Before that there was a tar file, see `legacy_tar`.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

from course_utils.formats.dtypes import ITEMSIZE
from course_utils.formats.pickle import Pickle, scan_next
from course_utils.formats.pickle_machine import Machine
from course_utils.formats.pickle_nodes import (
    Call,
    Global,
    MalformedPickleError,
    NotReadError,
    PersistentId,
    TooMuchError,
)
from course_utils.formats.source import Memory, Window
from course_utils.formats.storages import sizes_of, storage_of
from course_utils.formats.tensors import tensor_at
from course_utils.formats.trees import nodes
from course_utils.formats.zip import Record

MAGIC = 0x1950A86A20F9469CFC6C  # torch.serialization.MAGIC_NUMBER
PROTOCOL = 1001  # torch.serialization.PROTOCOL_VERSION

Seen = Callable[[Pickle, str], None]


class LegacyError(MalformedPickleError):
    """A part of the file makes no sense, or is cut off; says which, and why."""

    def __init__(self, part: str, problem: str) -> None:
        super().__init__(f"its {part}: {problem}")
        self.part, self.problem = part, problem


class Legacy(NamedTuple):
    """What a file from before 1.6 holds, as if it were an archive.

    Attributes:
        content: its object. A storage is referred to as in an archive, and a storage that showed
            a part of another is that other one, with the tensor's offset moved.
        pickle: the bytes of the object's pickle.
        records: its storages, by the names they have in an archive.
    """

    content: Pickle
    pickle: bytes
    records: dict[str, Record]


def is_legacy(start: bytes) -> bool:
    """Whether a file that begins so is a row of pickles by torch: of protocol 2, or before that."""
    return start[:1] in (b"\x80", b"L") and scan_next(Memory(start)).root == MAGIC


def read_stream(file: Window, seen: Seen = lambda content, part: None) -> Legacy:
    """Read a row of pickles that begins with torch's magic number.

    Args:
        file: read from its start.
        seen: is told each pickle and its name, before anything is said against it.

    Raises:
        LegacyError: it is cut off, or contradicts itself.
        NotReadError: it asks for too much, or nobody reads what it is.
    """
    file.seek(0)
    for part in ("magic number", "version", "system"):
        content = _next(file, part, seen)
        if part == "version" and content.root != PROTOCOL:
            raise LegacyError(part, "is none that torch knows")
    start = file.tell()
    content = _next(file, "object", seen, ModulesByName())
    keys = _next(file, "storage keys", seen).root
    records = _records(file, _storages(content), keys)
    return Legacy(content, file.read_at(start, content.length), records)


class ModulesByName(Machine):
    """Takes a class that was stored with its source, which torch compares with today's."""

    def refer_to(self, value: Any) -> None:
        """Refer to something outside, or name a class."""
        match value:
            case ("module", Global() as kind, str() | None, str() | None):
                self.stack.append(kind)
            case _:
                super().refer_to(value)


def view_of_storage(call: Call, whole: tuple[Any, ...], start: int) -> None:
    """Let a tensor of a storage that is a part of another refer to that other one.

    Args:
        call: makes the tensor; begins with the part and the offset in it.
        whole: what describes the other storage.
        start: of the part in it, in elements.

    Raises:
        MalformedPickleError: the tensor reaches beyond the part.
    """
    tensor_at("of a part of a storage", call)
    _, offset, *rest = call.arguments
    call.arguments = (PersistentId(whole), offset + start, *rest)


def _next(file: Window, part: str, seen: Seen, machine: Machine | None = None) -> Pickle:
    content = scan_next(file, machine)
    seen(content, part)
    if content.too_much:
        raise TooMuchError(content.problem)
    if content.problem:
        raise LegacyError(part, content.problem)
    if content.persistent and machine is None:
        raise LegacyError(part, "refers to something outside of it")
    return content


def _storages(content: Pickle) -> dict[str, tuple[str, int]]:
    """Return dtype and elements of each storage, and describe references as an archive does."""
    found: dict[str, tuple[str, int]] = {}
    parts: dict[int, tuple[tuple[Any, ...], int]] = {}  # by the id of a reference: whole, start
    names: dict[str, tuple[str, int, int]] = {}
    for reference in content.persistent:
        try:
            storage = storage_of(reference)
            *whole, view = reference.value
            if len(whole) != 5:
                raise MalformedPickleError("a storage is not described with six fields")
            key, count = storage.key, whole[4]
            if found.setdefault(key, (storage.dtype, count)) != (storage.dtype, count) and count:
                raise MalformedPickleError(f"storage {key} is described in two ways")
            reference.value = tuple(whole)
            if view is not None:
                name, start, size = _part(view, count)
                if names.setdefault(name, (key, start, size)) != (key, start, size):
                    raise MalformedPickleError(f"storage {name} is described in two ways")
                parts[id(reference)] = (reference.value, start)
                reference.value = (*whole[:2], name, whole[3], size)
        except NotReadError:
            raise
        except MalformedPickleError as error:
            raise LegacyError("storages", str(error)) from None
    if names.keys() & found.keys():
        raise LegacyError("storages", "one key names a storage and a part of one")
    if parts:
        _resolve(content, parts)
    return found


def _part(view: Any, count: int) -> tuple[str, int, int]:
    match view:
        case (str(name), start, size):
            start, size = sizes_of((start, size))
            if start + size <= count:
                return name, start, size
    raise MalformedPickleError("a part of a storage does not lie in it")


def _resolve(content: Pickle, parts: dict[int, tuple[tuple[Any, ...], int]]) -> None:
    for node in nodes(content.root):
        first = node.arguments[0] if isinstance(node, Call) and _is_tuple(node) else None
        if id(first) in parts:
            view_of_storage(node, *parts[id(first)])
    if any(id(node) in parts for node in nodes(content.root)):
        raise LegacyError("storages", "a part of a storage stands without a tensor")


def _is_tuple(call: Call) -> bool:
    return isinstance(call.arguments, tuple) and len(call.arguments) > 1


def _records(file: Window, storages: dict[str, tuple[str, int]], keys: Any) -> dict[str, Record]:
    """Find the storages: of each the number of its elements, in eight bytes, and the elements."""
    if not isinstance(keys, list) or not all(isinstance(key, str) for key in keys):
        raise LegacyError("storage keys", "are not a list of strings")
    if sorted(keys) != sorted(storages):
        raise LegacyError("storages", "the storages it needs are not those it has")
    records = {}
    for key in keys:
        dtype, count = storages[key]
        size = count * ITEMSIZE[dtype]
        found = file.read(8)
        start = file.tell()
        if len(found) < 8 or start + size > file.size:
            raise LegacyError("storages", f"storage {key} is cut off: it has {size:,} bytes")
        if int.from_bytes(found, "little") != count:
            raise LegacyError(
                "storages", f"storage {key} does not have the {size:,} bytes it needs"
            )
        records[f"data/{key}"] = stored(key, start, size)
        file.seek(size, 1)
    return records


def stored(key: str, start: int, size: int) -> Record:
    """Return a storage as a record of an archive, which has no checksum here."""
    return Record(f"data/{key}", start - 8, start, start, size, size, 0, False)

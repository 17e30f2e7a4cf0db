"""The format that PyTorch wrote before 0.4: a tar file of storages, tensors and a pickle.

The layout is that of ``torch.serialization._legacy_load``. The pickle refers to tensors by number;
here each becomes the call that makes it in later formats, so that all readers understand it.
"""

from contextlib import suppress
from typing import TYPE_CHECKING, Any

from course_utils.formats.legacy import Legacy, LegacyError, Seen, stored, view_of_storage
from course_utils.formats.pickle import Pickle, scan_next
from course_utils.formats.pickle_machine import Machine
from course_utils.formats.pickle_nodes import (
    Call,
    Global,
    MalformedPickleError,
    NotReadError,
    OrderedDictNode,
    PersistentId,
)
from course_utils.formats.source import Window
from course_utils.formats.storages import sizes_of, storage_of
from course_utils.formats.zip import Record

if TYPE_CHECKING:
    import tarfile

MEMBERS = ("storages", "tensors", "pickle")
LARGEST_RANK = 64
_REBUILD = Global("torch._utils", "_rebuild_tensor_v2")


def members_of(file: Window) -> "list[tarfile.TarInfo]":
    """Return what a tar file holds, up to where it makes sense; nothing if it is none."""
    import tarfile  # only here: hardly a file is one

    file.seek(0)
    members: list[tarfile.TarInfo] = []
    with (
        suppress(tarfile.TarError, ValueError, OverflowError, RecursionError, EOFError),
        tarfile.open(fileobj=file, mode="r:", format=tarfile.PAX_FORMAT) as archive,
    ):
        for member in archive:  # up to where it is cut off
            members.append(member)
    return members


def is_checkpoint(members: "list[tarfile.TarInfo]") -> bool:
    """Whether a tar file has what torch wrote first, or what it asks for first."""
    return any(member.name in ("sys_info", "storages") for member in members)


def read_tar(
    file: Window, members: "list[tarfile.TarInfo]", seen: Seen = lambda content, part: None
) -> Legacy:
    """Read a tar file as torch would.

    Args:
        file: the whole file.
        members: what `members_of` found.
        seen: is told each pickle and the member it is in.

    Raises:
        LegacyError: it is cut off, or contradicts itself.
    """
    parts: dict[str, Window] = {}
    places: dict[str, int] = {}
    for member in members:
        if member.name in parts or not member.isreg() or member.issparse():
            what = f"its member {member.name[:60]!r} is a trick: it is there twice, or a link"
            raise LegacyError("members", what)
        parts[member.name] = file.part(member.offset_data, member.size)
        places[member.name] = member.offset_data
        if parts[member.name].size < member.size:
            raise LegacyError(member.name, "it is cut off")
    reader = _Reader(seen)
    # In torch's order: what comes first is unpickled, and runs, even if the rest is missing.
    for name, read in (("storages", reader.storages), ("tensors", reader.tensors)):
        reader.on(name, parts, lambda part, read=read, name=name: read(part, places[name]))
    content = reader.on("pickle", parts, reader.object)
    return Legacy(content, parts["pickle"].read_at(0, content.length), reader.records)


class _Reader:
    """Collects storages, then tensors, by the numbers under which the pickle refers to them."""

    def __init__(self, seen: Seen) -> None:
        self._seen, self._part = seen, ""
        self.records: dict[str, Record] = {}
        self._known: dict[int, Any] = {}
        self._views: dict[int, tuple[tuple[Any, ...], int]] = {}  # whole, start

    def on(self, name: str, parts: dict[str, Window], read: Any) -> Any:
        self._part = name
        if name not in parts:
            raise LegacyError(name, "is missing")
        try:
            return read(parts[name])
        except (LegacyError, NotReadError):
            raise
        except (ValueError, TypeError) as error:
            raise LegacyError(name, f"makes no sense: {error}") from None

    def storages(self, file: Window, place: int) -> None:
        """A count; per storage a pickle of (key, location, type), its length, its bytes; views."""
        for _ in range(_count(self._next(file))):
            key, location, kind = _fields(self._next(file).root, 3)
            count = int.from_bytes(_exactly(file, 8), "little")
            reference = PersistentId(("storage", kind, str(int(key)), location, count))
            size = storage_of(reference).nbytes
            if file.tell() + size > file.size:
                raise ValueError(f"storage {key} is cut off")
            record = stored(str(int(key)), place + file.tell(), size)
            self._add(key, reference)
            self.records[record.name] = record
            file.seek(size, 1)
        views = self._next(file).root
        if not isinstance(views, list):
            raise ValueError("there is no list of parts of storages")
        for view in views:
            key, root, *numbers = _fields(view, 4)
            start, size = sizes_of(numbers)
            whole = self._storage(root)
            if start + size > whole.value[4]:
                raise ValueError(f"storage {key} does not lie in storage {root}")
            described = (*whole.value[:2], str(int(key)), whole.value[3], size)
            self._add(key, PersistentId(described))
            self._views[int(key)] = (whole.value, start)

    def tensors(self, file: Window, _: int) -> None:
        """A count; per tensor a pickle of (key, storage, type), then rank, shape, stride, place."""
        for _ in range(_count(self._next(file))):
            key, storage, _kind = _fields(self._next(file).root, 3)
            rank = int.from_bytes(_exactly(file, 8)[:4], "little", signed=True)
            if not 0 <= rank <= LARGEST_RANK:
                raise ValueError(f"a tensor of {rank} dimensions")
            shape, stride = (
                tuple(_signed(_exactly(file, 8)) for _ in range(rank)) for _ in range(2)
            )
            reference, offset = self._storage(storage), _signed(_exactly(file, 8))
            hooks = OrderedDictNode()
            call = Call(_REBUILD, (reference, offset, shape, stride, False, hooks))
            if int(storage) in self._views:
                view_of_storage(call, *self._views[int(storage)])
            self._add(key, call)

    def object(self, file: Window) -> Pickle:
        return self._next(file, _ByNumber(self._known, self._views))

    def _next(self, file: Window, machine: Machine | None = None) -> Pickle:
        content = scan_next(file, machine)
        self._seen(content, self._part)
        if content.problem:
            raise LegacyError(self._part, content.problem)
        if content.persistent:
            raise LegacyError(self._part, "refers to something that the file does not have")
        return content

    def _add(self, key: Any, node: Any) -> None:
        if int(key) in self._known:
            raise ValueError(f"{int(key)} is described twice")
        self._known[int(key)] = node

    def _storage(self, key: Any) -> PersistentId:
        found = self._known.get(int(key))
        if not isinstance(found, PersistentId):
            raise ValueError(f"there is no storage {key}")
        return found


class _ByNumber(Machine):
    """Takes tensors and storages for their numbers, and classes that were stored with source."""

    def __init__(self, known: dict[int, Any], views: dict[int, Any]) -> None:
        super().__init__()
        self._known, self._views = known, views

    def fresh(self) -> "_ByNumber":
        return _ByNumber(self._known, self._views)

    def refer_to(self, value: Any) -> None:
        match value:
            case (Global() as kind, str() | None, str() | None):
                self.stack.append(kind)
            case str() | int() if str(value).isdecimal() and int(value) in self._known:
                if int(value) in self._views:
                    raise MalformedPickleError("a part of a storage stands without a tensor")
                self.stack.append(self._known[int(value)])
            case _:
                super().refer_to(value)


def _count(content: Pickle) -> int:
    """Return how many things follow; each takes a byte at least, so this cannot be endless."""
    if type(content.root) is not int:
        raise ValueError("there is no count")
    return content.root


def _fields(value: Any, count: int) -> tuple[Any, ...]:
    if not isinstance(value, tuple) or len(value) != count:
        raise ValueError("an entry does not have the fields it needs")
    return value


def _exactly(file: Window, count: int) -> bytes:
    data = file.read(count)
    if len(data) < count:
        raise ValueError("it is cut off")
    return data


def _signed(data: bytes) -> int:
    return int.from_bytes(data, "little", signed=True)

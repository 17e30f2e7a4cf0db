"""The two formats that PyTorch wrote before 1.6: a row of pickles, and before that a tar file.

The layouts are those of ``torch.serialization._legacy_load``. Raw tensors stand between the
pickles, so one must know the layout to find every pickle.
"""

import tarfile
from typing import Any

from course_utils.formats.evidence import Evidence, scan
from course_utils.formats.judge import Verdict
from course_utils.formats.pickle import Pickle
from course_utils.formats.pickle_nodes import Global, MalformedPickleError, PersistentId
from course_utils.formats.source import Window
from course_utils.formats.storages import storage_of

MAGIC = 0x1950A86A20F9469CFC6C  # torch.serialization.MAGIC_NUMBER
LARGEST_TAR_RANK = 64


def inspect_legacy(file: Window, where: str, evidence: Evidence) -> bool:
    """Look at a row of pickles that begins with torch's magic number; False if it does not."""
    file.seek(0)
    if scan(file).root != MAGIC:
        return False
    names = ("version", "system", "object", "storage keys")
    pickles: list[Pickle] = []
    for name in names:
        pickles.append(evidence.pickle(file, f"{where}{name}"))
        if pickles[-1].problem:
            return True
    problem = _storage_problem(file, pickles[2].persistent, pickles[3].root)
    if problem:
        evidence.add(Verdict.DAMAGED, f"{where}storages", problem)
    return True


def _storage_problem(file: Window, persistent: list[PersistentId], keys: Any) -> str | None:
    """Compare the storages the object needs with those that follow the pickles."""
    sizes: dict[str, tuple[int, int]] = {}
    for reference in persistent:
        if _names_module(reference.value):
            continue
        try:
            storage = storage_of(reference)
        except MalformedPickleError as error:
            return str(error)
        if len(reference.value) != 6:
            return "a storage is not described with six fields"
        *_, key, _device, count, view = reference.value
        if view is not None:
            return "a storage that is a view of another; none is written since PyTorch 0.4"
        if sizes.setdefault(key, (count, storage.nbytes)) != (count, storage.nbytes):
            return f"storage {key} is described in two ways"
    if not isinstance(keys, list) or not all(isinstance(key, str) for key in keys):
        return "the storage keys are not a list of strings"
    if sorted(keys) != sorted(sizes):
        return "the storages it needs are not those it has"
    for key in keys:
        count, nbytes = sizes[key]
        if int.from_bytes(file.read(8), "little") != count or file.tell() + nbytes > file.size:
            return f"storage {key} does not have the {nbytes:,} bytes it needs"
        file.seek(nbytes, 1)
    return None


def _names_module(value: Any) -> bool:
    """A class with its source, which torch compares with today's; the class is judged as import."""
    match value:
        case ("module", Global(), str() | None, str() | None):
            return True
    return False


def inspect_tar(file: Window, where: str, evidence: Evidence) -> bool:
    """Look at a tar file as torch would; False if it is none."""
    file.seek(0)
    try:
        with tarfile.open(fileobj=file, mode="r:", format=tarfile.PAX_FORMAT) as archive:
            members = archive.getmembers()
    except (tarfile.TarError, ValueError, OverflowError, RecursionError, EOFError):
        return False
    if not members:
        return False
    parts: dict[str, Window] = {}
    for member in members:
        if member.name in parts or not member.isreg() or member.issparse():
            evidence.add(
                Verdict.DAMAGED, where, f"its member {member.name[:60]!r} is a trick: it is "
                "there twice, or a link"
            )  # fmt: skip
        parts[member.name] = file.part(member.offset_data, member.size)
    if set(parts) - {"sys_info"} != {"storages", "tensors", "pickle"}:
        evidence.add(Verdict.DAMAGED, where, "its members are not those of a checkpoint")
    for name, read in (("storages", _storages), ("tensors", _tensors), ("pickle", _pickle)):
        if name in parts:
            try:
                read(parts[name], f"{where}{name}", evidence)
            except (ValueError, TypeError) as error:
                evidence.add(Verdict.DAMAGED, f"{where}{name}", f"makes no sense: {error}")
    return True


def _storages(file: Window, where: str, evidence: Evidence) -> None:
    """A count; per storage a pickle of (key, location, type), its length, its bytes; the views."""
    for _ in range(_count(evidence.pickle(file, where))):
        _key, _location, storage_type = _fields(evidence.pickle(file, where), 3)
        size = storage_of(PersistentId(("storage", storage_type, "0", "cpu", 1))).nbytes
        _skip(file, int.from_bytes(file.read(8), "little") * size)
    evidence.pickle(file, where)


def _tensors(file: Window, where: str, evidence: Evidence) -> None:
    """A count; per tensor a pickle of (key, storage, type), then rank, shape, stride and offset."""
    for _ in range(_count(evidence.pickle(file, where))):
        _fields(evidence.pickle(file, where), 3)
        rank = int.from_bytes(file.read(8)[:4], "little")
        if rank > LARGEST_TAR_RANK:
            raise ValueError(f"a tensor of {rank} dimensions")
        _skip(file, 16 * rank + 8)


def _pickle(file: Window, where: str, evidence: Evidence) -> None:
    evidence.pickle(file, where)


def _count(content: Pickle) -> int:
    """Return how many things follow; each takes a byte at least, so this cannot be endless."""
    if content.problem or type(content.root) is not int:
        raise ValueError("there is no count")
    return content.root


def _fields(content: Pickle, count: int) -> tuple[Any, ...]:
    if content.problem or not isinstance(content.root, tuple) or len(content.root) != count:
        raise ValueError(content.problem or "an entry does not have the fields it needs")
    return content.root


def _skip(file: Window, count: int) -> None:
    if file.tell() + count > file.size:
        raise ValueError("it is cut off")
    file.seek(count, 1)

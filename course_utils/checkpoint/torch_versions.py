"""PyTorch from 2.6 on: what it offers in private, and the public way where that is missing.

Private names are quicker and may change with any version, so each is tried, and believed only if it
does what is expected of it.
"""

import io
import os
import tempfile
import zipfile
from collections.abc import Callable, Collection, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from course_utils.errors import UnsafeCheckpointError
from course_utils.files.open_file import OpenFile

ALIGNMENT = 64  # bytes, of the tensors in a file

_ALLOWED = ("allowed", "user_allowed")

PrivateLoader = Callable[[Any, Any], Any]


def version() -> tuple[int, int]:
    """Return this PyTorch's version, such as ``(2, 14)``."""
    major, minor = torch.__version__.split(".")[:2]
    return int(major), int(minor)


def private(holder: Any, name: str) -> Any:
    """Return something that PyTorch does not promise to have, None where it has not."""
    return getattr(holder, name, None)


def safe_loader_is_broken() -> bool:
    """Return whether ``weights_only=True`` of this PyTorch can be made to run code.

    Source:
        CVE-2026-24747: PyTorch before 2.10.
    """
    return version() < (2, 10)


def refuse_unless_plain(file: OpenFile) -> None:
    """Under a PyTorch whose safe loader is broken, take only what our own audit calls plain data.

    Raises:
        UnsafeCheckpointError: it is more than that.
    """
    if not safe_loader_is_broken():
        return
    from course_utils.safety.audit import audit_open  # it loads files itself, and imports this

    found = audit_open(file)
    if found.verdict.value != "plain data":
        why = found.findings[0].reason
        if found.verdict.value == "malformed":
            why = f"is malformed: {why}"
        raise UnsafeCheckpointError(
            f"{file.path}: refused, since the safe loader of PyTorch {torch.__version__} is broken "
            f"(CVE-2026-24747) and the file is not plain data: it {why}. Load it with "
            "PyTorch 2.10 or later, or get it as safetensors."
        )


def refuse_content_unless_plain(content: bytes, name: str) -> None:
    """Do the same for a file in memory.

    Raises:
        UnsafeCheckpointError: it is more than plain data; the message has the name.
    """
    if safe_loader_is_broken():
        with tempfile.TemporaryDirectory() as folder:
            (Path(folder) / "content").write_bytes(content)
            try:
                with OpenFile(Path(folder) / "content") as file:
                    refuse_unless_plain(file)
            except UnsafeCheckpointError as error:
                raise UnsafeCheckpointError(f"{name}{str(error).partition('content')[2]}") from None


def is_meta(map_location: Any) -> bool:
    """Return whether tensors are to be made without memory."""
    if isinstance(map_location, str):
        return map_location.partition(":")[0] == "meta"
    return isinstance(map_location, torch.device) and map_location.type == "meta"


def place_wrappers(map_location: Any) -> None:
    """Tell a load that has begun where tensors made of other tensors go, as torchao's are.

    ``torch.load`` does so itself, unless its ``map_location`` is a function.
    """
    place = private(torch.serialization, "_serialization_tls")
    if place is not None and not callable(map_location):
        is_map = isinstance(map_location, Mapping)
        place.map_location = dict(map_location) if is_map else map_location


def storage_alignment() -> int:
    """Return to how many bytes ``torch.save`` aligns tensors in a file."""
    try:
        from torch.utils.serialization import config

        return int(config.save.storage_alignment)
    except (ImportError, AttributeError):  # before 2.7
        return ALIGNMENT


def skips_data() -> bool:
    """Return whether ``torch.serialization.skip_data`` is on."""
    skips = private(private(torch.serialization, "_serialization_tls"), "skip_data")
    if isinstance(skips, bool):
        return skips
    trial = b"is this data saved"
    content = io.BytesIO()
    torch.save(torch.frombuffer(bytearray(trial), dtype=torch.uint8), content)
    return trial not in content.getvalue()


def refused_names(imported: Collection[Any], content: bytes) -> list[str]:
    """Return what a pickle imports that a safe load refuses.

    Args:
        imported: the classes and functions it imports.
        content: the pickle itself; reading it takes longer, and needs no private name.
    """
    unpickler = private(torch, "_weights_only_unpickler")
    lists = [private(unpickler, f"_get_{whose}_globals") for whose in _ALLOWED]
    if None not in lists:
        allowed = {name for names in lists for name in names()}
        return sorted({f"{thing.__module__}.{thing.__qualname__}" for thing in imported} - allowed)
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("archive/data.pkl", content)
        file.writestr("archive/version", "3\n")
    archive.seek(0)
    return sorted(torch.serialization.get_unsafe_globals_in_checkpoint(archive))


def load_public(file: OpenFile, map_location: Any, mmap: bool) -> Any:
    """Load a file whose bytes were verified, by ``torch.load``.

    Args:
        file: the open file.
        map_location: as for ``torch.load``.
        mmap: map it.
    """
    if mmap:
        same = Path(f"/proc/self/fd/{file.fileno()}")  # what was verified, whatever came since
        name = os.fspath(same if same.exists() else file.path)  # by a path alone torch maps it
        return torch.load(name, map_location=map_location, weights_only=True, mmap=True)
    with open(os.dup(file.fileno()), "rb") as stream:
        stream.seek(0)
        return torch.load(stream, map_location=map_location, weights_only=True)


@cache
def private_loader() -> PrivateLoader | None:
    """Return PyTorch's own loader for an archive that verifies what it hands out.

    Returns:
        A function of the archive and the ``map_location``, None if there is none that works.
    """
    load = private(torch.serialization, "_load")
    unpickler = private(torch, "_weights_only_unpickler")
    if load is None or unpickler is None:
        return None
    for more in ({"weights_only": True}, {}):  # the unpickler itself allows plain data only
        found = _loader(load, unpickler, more)
        if _works(found):
            return found
    return None


def _loader(load: Any, unpickler: Any, more: dict[str, Any]) -> PrivateLoader:
    return lambda archive, place: load(archive, place, unpickler, encoding="utf-8", **more)


def _works(loader: PrivateLoader) -> bool:
    """Whether it builds what was saved, on the meta device too, and refuses what is not plain."""
    try:
        wanted: dict[str, Any] = {"a": torch.arange(3.0)[1:], "b": [1, "x"]}
        here, meta = (loader(_Archive(wanted), place) for place in ("cpu", "meta"))
        right = here["b"] == wanted["b"] and torch.equal(here["a"], wanted["a"])
        right = right and meta["a"].is_meta and meta["a"].shape == (2,)
        hostile = _Archive({"a": _Import()})
    except Exception:
        return False
    try:
        loader(hostile, "cpu")
    except Exception:
        return bool(right)
    return False


class _Import:
    """Asks for a harmless function that no checkpoint needs."""

    def __reduce__(self) -> Any:
        return os.getcwd, ()


class _Archive:
    """A tiny checkpoint, with the methods by which PyTorch's loader asks for records."""

    def __init__(self, state: Any) -> None:
        content = io.BytesIO()
        torch.save(state, content)
        with zipfile.ZipFile(content) as file:
            self.records = {n.partition("/")[2]: file.read(n) for n in file.namelist()}

    def has_record(self, name: str) -> bool:
        return name in self.records and name != ".format_version"

    def get_record(self, name: str) -> bytes:
        return self.records[name]

    def get_record_offset(self, name: str) -> int:
        return 0

    def get_storage_from_record(self, name: str, nbytes: int, _kind: type) -> Tensor:
        return torch.frombuffer(bytearray(self.records[name][:nbytes]), dtype=torch.uint8)

    def serialization_id(self) -> str:
        return ""

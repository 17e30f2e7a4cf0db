"""Write a checkpoint: the pickle as torch makes it, the storages by our own writer, durably."""

import io
import os
import pickle
import sys
import warnings
from collections import OrderedDict
from pathlib import Path
from types import BuiltinFunctionType, FunctionType
from typing import Any, BinaryIO

import torch
from torch import Tensor, UntypedStorage, _weights_only_unpickler
from torch.serialization import _get_storage_alignment, _serialization_tls
from torch.storage import TypedStorage
from zlib_ng import zlib_ng

from course_utils.durable import write_atomically
from course_utils.zipwriter import ArchiveWriter


def save_checkpoint(path: str | os.PathLike[str], state: Any, *, compact: bool = False) -> Path:
    """Save a checkpoint so that no crash can cost the one that was there before.

    The file is laid out as ``torch.save`` does: ``torch.load(path, weights_only=True)`` reads
    it if ``state`` is made of tensors, numbers, strings, None, lists, tuples and dicts.
    Tensors that share memory share it in the file.

    Args:
        path: the file to create or replace; its folder must exist.
        state: what to save, usually a dict of state_dicts; tensors may be on any device.
        compact: save only the elements a tensor shows, not the whole memory it is a view of.
            Such views no longer share memory after loading.

    Returns:
        The path.

    Raises:
        CheckpointWriteError: nothing was written and the old file is untouched.
    """
    try:
        pickled = _Pickled(state, compact)
    except _LeaveItToTorch:
        write_atomically(path, lambda file: _torch_save(state, file))
    else:
        write_atomically(path, pickled.write, size=pickled.size)
    return Path(path)


_PLAIN = frozenset({str, int, float, bool, type(None), tuple, list, dict, OrderedDict})


class _LeaveItToTorch(Exception):
    """The state holds something only torch itself knows how to save."""


class _Pickled:
    """A state as a pickle and the storages it refers to."""

    def __init__(self, state: Any, compact: bool) -> None:
        if _serialization_tls.skip_data:
            raise _LeaveItToTorch
        buffer = io.BytesIO()
        pickler = (_CompactPickler if compact else _Pickler)(buffer)
        pickler.dump(state)
        self.pickle, self.storages = buffer.getvalue(), pickler.storages
        _warn_if_refused(pickler.imported)

    @property
    def size(self) -> int:
        """Bytes of data; the file is larger by about 200 bytes a storage."""
        return len(self.pickle) + sum(map(len, self.storages))

    def write(self, file: BinaryIO) -> None:
        """Write the archive to an empty file."""
        alignment = _get_storage_alignment()
        with ArchiveWriter(file.fileno(), alignment) as archive:
            archive.add("data.pkl", self.pickle)
            archive.add(".format_version", b"1")
            archive.add(".storage_alignment", str(alignment).encode())
            archive.add("byteorder", sys.byteorder.encode())
            for key, storage in enumerate(self.storages):
                archive.add(f"data/{key}", storage)
            archive.add("version", b"3\n")
            archive.add(".data/serialization_id", _identity(archive))


class _Pickler(pickle.Pickler):
    """Pickles as ``torch.save`` does: a storage becomes a reference to a record."""

    def __init__(self, buffer: io.BytesIO) -> None:
        super().__init__(buffer, protocol=2)
        self.storages: list[UntypedStorage] = []
        self.imported: set[Any] = set()
        self._keys: dict[int, str] = {}
        self._dtypes: dict[int, torch.dtype] = {}

    def persistent_id(self, obj: Any) -> tuple[Any, ...] | None:
        """Return the reference that stands for a storage, None for anything else."""
        if type(obj) in _PLAIN:  # most objects: do not keep them waiting
            return None
        if isinstance(obj, TypedStorage):
            kind = getattr(torch, obj._pickle_storage_type())
            return self._reference(obj._untyped_storage, kind, obj.dtype, obj._size())
        if isinstance(obj, UntypedStorage):
            return self._reference(obj, UntypedStorage, torch.uint8, obj.nbytes())
        if isinstance(obj, (type, FunctionType, BuiltinFunctionType)):
            self.imported.add(obj)
        return None

    def _reference(
        self, storage: UntypedStorage, kind: type, dtype: torch.dtype, size: int
    ) -> tuple[Any, ...]:
        if storage.device.type == "meta" or storage._fake_device is not None:
            raise _LeaveItToTorch
        if storage.nbytes() and self._dtypes.setdefault(storage.data_ptr(), dtype) != dtype:
            raise _LeaveItToTorch  # it refuses one memory seen as two types
        key = self._keys.get(storage._cdata)
        if key is None:
            key = self._keys[storage._cdata] = str(len(self.storages))
            self.storages.append(storage)
        return "storage", kind, key, torch.serialization.location_tag(storage), size


class _CompactPickler(_Pickler):
    """Replaces views of a larger memory by copies of what they show."""

    def reducer_override(self, obj: Any) -> Any:
        if type(obj) is Tensor and obj.layout == torch.strided and not obj.is_quantized:
            storage = obj.untyped_storage()
            if obj.nbytes < storage.nbytes() and storage.device.type != "meta":
                copy = obj.detach().clone().requires_grad_(obj.requires_grad)
                return copy.__reduce_ex__(2)
        return NotImplemented


def _identity(archive: ArchiveWriter) -> bytes:
    """Return 40 digits that change with the names and contents of the records, as torch has."""
    names = zlib_ng.crc32(b"".join(entry.name for entry in archive.entries))
    contents = zlib_ng.crc32(b"".join(e.crc32.to_bytes(4, "little") for e in archive.entries))
    return f"{names:020}{contents:020}".encode()


def _warn_if_refused(imported: set[Any]) -> None:
    """Tell at once, not when the run is lost, what a safe load will refuse."""
    allowed = {
        **_weights_only_unpickler._get_allowed_globals(),
        **_weights_only_unpickler._get_user_allowed_globals(),
    }
    names = {f"{thing.__module__}.{thing.__qualname__}" for thing in imported}
    refused = sorted(names - allowed.keys())
    if refused:
        warnings.warn(
            f"The checkpoint needs {', '.join(refused)}, which load_checkpoint and "
            "torch.load(weights_only=True) refuse to import. Save plain values instead.",
            stacklevel=4,
        )


def _torch_save(state: Any, file: BinaryIO) -> None:
    remembering = _RememberingFile(file)
    try:
        torch.save(state, remembering)  # type: ignore[arg-type]
    except RuntimeError:
        if remembering.error:  # torch hides the system's error behind one of its own
            raise remembering.error from None
        raise


class _RememberingFile:
    def __init__(self, file: BinaryIO) -> None:
        self.file = file
        self.error: OSError | None = None

    def write(self, data: bytes) -> int:
        try:
            return self.file.write(data)
        except OSError as error:
            self.error = error
            raise

    def flush(self) -> None:
        self.file.flush()

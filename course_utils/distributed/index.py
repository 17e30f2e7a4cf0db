"""The index of a sharded checkpoint, ``.metadata``: a pickle, read without running any of it.

PyTorch's own reader unpickles it into the classes of the installed version, and so fails on an
index that another version wrote with one value more. Here every object becomes a plain record of
what was written, and the parts that reading needs are taken from those.
"""

import pickle
from dataclasses import dataclass
from functools import cache
from pathlib import Path, PurePosixPath
from typing import Any

import torch
from torch.distributed.checkpoint import BytesStorageMetadata, Metadata, TensorStorageMetadata
from torch.distributed.checkpoint.metadata import (
    ChunkStorageMetadata,
    MetadataIndex,
    TensorProperties,
)

from course_utils.errors import (
    DamagedCheckpointError,
    UnsafeCheckpointError,
    UnsupportedCheckpointError,
)
from course_utils.formats import folder_kinds

INDEX = folder_kinds.INDEX


@dataclass(frozen=True)
class Place:
    """Where the bytes of one value are; PyTorch's reader looks for these names."""

    relative_path: str
    offset: int
    length: int
    transform_descriptors: None = None


def read_index(path: Path) -> Metadata:
    """Read ``.metadata`` as any version of PyTorch wrote it.

    Raises:
        UnsafeCheckpointError: it names a class or function that DCP does not write.
        UnsupportedCheckpointError: its values are stored in a way that is not known here.
        DamagedCheckpointError: it is no index.
    """
    try:
        with open(path, "rb") as file:
            written = _IndexUnpickler(file).load()
    except UnsafeCheckpointError as error:
        raise UnsafeCheckpointError(
            f"{path}: {error}; it was not written by DCP, do not load it"
        ) from None
    except Exception as error:  # a damaged pickle raises nearly anything
        raise DamagedCheckpointError(
            f"{path}: the index is damaged ({error}); use an older checkpoint"
        ) from error
    if not isinstance(written, _Written) or type(written).__name__ != "Metadata":
        raise DamagedCheckpointError(f"{path}: it holds no index; use an older checkpoint")
    try:
        return _metadata(written.state)
    except UnsupportedCheckpointError as error:
        raise UnsupportedCheckpointError(f"{path}: {error}") from None
    except (KeyError, TypeError, AttributeError, IndexError, ValueError) as error:
        raise UnsupportedCheckpointError(
            f"{path}: the index is laid out in a way that is not known here ({error!r}); load it "
            "with the PyTorch that wrote it"
        ) from error


class _Written:
    """An object of the index: the arguments it was made with, and its state."""

    def __init__(self, *arguments: Any) -> None:
        self.arguments = arguments

    def __setstate__(self, state: Any) -> None:
        self.state = state


class _IndexUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        """Return a record for a class of DCP's, and a few plain things; import nothing."""
        plain = name.isidentifier()
        if plain and module.startswith("torch.distributed.checkpoint."):
            return _kind(name)
        if plain and module == "torch" and isinstance(getattr(torch, name, None), torch.dtype):
            return getattr(torch, name)
        if (module, name) == ("torch", "Size"):
            return torch.Size
        if (module, name) == ("torch.serialization", "_get_layout"):
            return str
        if module in ("pathlib", "pathlib._local") and name in _PATHS:
            return PurePosixPath
        if (module, name) in (("builtins", "getattr"), ("__builtin__", "getattr")):
            return _member
        raise UnsafeCheckpointError(f"the index would import {module}.{name}")


def _member(kind: Any, name: str) -> Any:
    """A member of an enumeration, which Python 3.11.0 to 3.11.3 pickles as an attribute."""
    if not (isinstance(kind, type) and issubclass(kind, _Written)):
        raise UnsafeCheckpointError(f"the index would import builtins.getattr of {kind!r}")
    return kind(name)


_PATHS = {"Path", "PosixPath", "WindowsPath"}


@cache
def _kind(name: str) -> type[_Written]:
    return type(name, (_Written,), {})


def _metadata(state: dict[str, Any]) -> Metadata:
    values = {name: _value(info) for name, info in state["state_dict_metadata"].items()}
    places = {
        _index(key.state): _place(place.state) for key, place in state["storage_data"].items()
    }
    return Metadata(values, state.get("planner_data"), places)


def _value(info: _Written) -> TensorStorageMetadata | BytesStorageMetadata:
    if type(info).__name__ == "BytesStorageMetadata":
        return BytesStorageMetadata()
    state = info.state
    # A tuple: dtype, layout, requires_grad, memory format, pinned; since 2.15 strides, and so on.
    # A tensor's values do not depend on what follows the dtype.
    dtype = state["properties"].state[0]
    chunks = [
        ChunkStorageMetadata(chunk.state["offsets"], chunk.state["sizes"])
        for chunk in state["chunks"]
    ]
    return TensorStorageMetadata(TensorProperties(dtype=dtype), state["size"], chunks)


def _index(state: dict[str, Any]) -> MetadataIndex:
    return MetadataIndex(state["fqn"], state.get("offset"), state.get("index"))


def _place(state: dict[str, Any]) -> Place:
    if state.get("transform_descriptors"):
        raise UnsupportedCheckpointError(
            f"its values are transformed ({', '.join(state['transform_descriptors'])}); load it "
            "with torch.distributed.checkpoint and save it plain"
        )
    return Place(state["relative_path"], state["offset"], state["length"])

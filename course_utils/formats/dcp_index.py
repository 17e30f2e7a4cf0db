"""The index of a distributed checkpoint, ``.metadata``: which bytes of which file are what.

``torch.distributed.checkpoint`` (DCP) writes it as a pickle of its own classes, and other versions
write other values into them. Here the pickle is read without running it, and of each object only
what reading needs is taken. https://docs.pytorch.org/docs/stable/distributed.checkpoint.html
"""

import re
from collections.abc import Iterator
from typing import Any, NamedTuple

from course_utils.formats.dtypes import ITEMSIZE
from course_utils.formats.pickle import read_pickle
from course_utils.formats.pickle_nodes import (
    Call,
    Global,
    MalformedPickleError,
    NotReadError,
    describe,
)
from course_utils.formats.storages import sizes_of

DCP = "torch.distributed.checkpoint."
_OTHERS = {
    "torch.Size", "torch.serialization._get_layout", "builtins.getattr", "__builtin__.getattr",
    "pathlib.Path", "pathlib.PosixPath", "pathlib.WindowsPath", "pathlib.PurePosixPath",
    "pathlib._local.Path", "pathlib._local.PosixPath", "pathlib._local.WindowsPath",
    "collections.OrderedDict",
}  # fmt: skip

_GETATTR = re.compile(r"(builtins|__builtin__)\.getattr$")


class MalformedIndexError(ValueError):
    """The bytes are no index, or one that contradicts itself."""


class UnknownIndexError(ValueError):
    """The index says something about its values that is not known here."""


class ForeignNamesError(ValueError):
    """The index would import what DCP never writes."""


class Place(NamedTuple):
    """Bytes of a file of the folder."""

    file: str
    start: int
    length: int


class Chunk(NamedTuple):
    """A block of a tensor: where it begins, its shape, where it lies."""

    offsets: tuple[int, ...]
    shape: tuple[int, ...]
    place: Place


class ShardedTensor(NamedTuple):
    """A tensor: torch's name of its dtype, its shape, and the blocks it was cut into."""

    dtype: str
    shape: tuple[int, ...]
    chunks: list[Chunk]


class Index(NamedTuple):
    """What an index says.

    Attributes:
        tensors: by name, for example ``model.0.weight``.
        objects: where all other values lie, by name.
        names: of both, in the order of the index.
        keys: of each name the keys that it was made of, where the index says so.
        length: bytes of the index.
    """

    tensors: dict[str, ShardedTensor]
    objects: dict[str, Place]
    names: list[str]
    keys: dict[str, tuple[Any, ...]]
    length: int

    def places(self) -> Iterator[tuple[str, Place]]:
        """Yield every stretch of bytes with the name that it belongs to."""
        yield from self.objects.items()
        for name, tensor in self.tensors.items():
            for chunk in tensor.chunks:
                yield name, chunk.place


def read_index(data: bytes) -> Index:
    """Read an index as any version of PyTorch wrote it.

    Raises:
        ForeignNamesError: it names a class or function that DCP does not write.
        MalformedIndexError: it is no index, or has no place for one of its values.
        UnknownIndexError: its values are stored in a way that is not known here.
    """
    try:
        content = read_pickle(data)
    except NotReadError as error:
        raise UnknownIndexError(f"the index is not read: {error}") from None
    except MalformedPickleError as error:
        raise MalformedIndexError(str(error)) from None
    foreign = sorted(name for name in map(str, content.globals) if not is_written_by_dcp(name))
    if foreign:
        raise ForeignNamesError(f"the index would import {', '.join(foreign[:3])}")
    for call in content.calls:
        if _GETATTR.match(describe(call.function)) and not _is_member_of_dcps(call.arguments):
            raise ForeignNamesError(f"the index would call {describe(call.function)}")
    root = content.root
    if not isinstance(root, Call) or _name(root) != "Metadata" or not isinstance(root.state, dict):
        raise MalformedIndexError("it holds no index")
    try:
        return _index(root.state, len(data))
    except (KeyError, TypeError, AttributeError, IndexError, MalformedPickleError) as error:
        reason = (
            f"it is laid out in a way that is not known here ({error!r}); load it with the PyTorch "
            "that wrote it"
        )
        raise UnknownIndexError(reason) from None


def is_written_by_dcp(name: str) -> bool:
    """Whether DCP writes this name into an index; all are classes of values, or plain."""
    module, _, member = name.rpartition(".")
    is_dtype = module == "torch" and member in ITEMSIZE
    return is_dtype or name in _OTHERS or (name.startswith(DCP) and member.isidentifier())


def _is_member_of_dcps(arguments: Any) -> bool:
    """Whether it is a member of an enumeration, as Python 3.11.0 to 3.11.3 pickles one."""
    return isinstance(arguments, tuple) and describe(arguments[0]).startswith(DCP)


def _index(state: dict[str, Any], length: int) -> Index:
    places = {}
    for key, value in state["storage_data"].items():
        offset = key.state.get("offset")
        places[key.state["fqn"], None if offset is None else sizes_of(offset)] = _place(value.state)
    tensors, objects = {}, {}
    for name, info in state["state_dict_metadata"].items():
        if not isinstance(name, str):
            raise UnknownIndexError(f"{describe(name)} is no name")
        if _name(info) == "BytesStorageMetadata":
            objects[name] = _found(places, name, None)
        elif _name(info) == "TensorStorageMetadata":
            tensors[name] = _tensor(name, info.state, places)
        else:
            raise UnknownIndexError(f"{name} is of the unknown kind {_name(info)}")
    planned = state.get("planner_data")
    keys = planned if isinstance(planned, dict) else {}
    keys = {name: key for name, key in keys.items() if isinstance(key, tuple) and key}
    return Index(tensors, objects, list(state["state_dict_metadata"]), keys, length)


def _tensor(name: str, state: dict[str, Any], places: dict[Any, Place]) -> ShardedTensor:
    # A tuple: dtype, layout, requires_grad, memory format, pinned; since 2.15 strides, and so on.
    # A tensor's values do not depend on what follows the dtype.
    dtype = state["properties"].state[0]
    if not (isinstance(dtype, Global) and dtype.name in ITEMSIZE):
        raise UnknownIndexError(f"{name} has the unknown dtype {describe(dtype)}")
    chunks = []
    for chunk in state["chunks"]:
        offsets, shape = sizes_of(chunk.state["offsets"]), sizes_of(chunk.state["sizes"])
        chunks.append(Chunk(offsets, shape, _found(places, name, offsets)))
    return ShardedTensor(dtype.name, sizes_of(state["size"]), chunks)


def _found(places: dict[Any, Place], name: str, offset: tuple[int, ...] | None) -> Place:
    place = places.get((name, offset))
    if place is None:
        raise MalformedIndexError(f"it does not say where {name} lies")
    return place


def _place(state: dict[str, Any]) -> Place:
    if state.get("transform_descriptors"):
        names = ", ".join(map(describe, state["transform_descriptors"]))
        raise UnknownIndexError(
            f"its values are transformed ({names}); load it with torch.distributed.checkpoint and "
            "save it plain"
        )
    file, start, length = state["relative_path"], state["offset"], state["length"]
    if not isinstance(file, str):
        raise UnknownIndexError(f"{describe(file)} is no name of a file")
    start, length = sizes_of((start, length))
    return Place(file, start, length)


def _name(node: Any) -> str:
    return describe(node.function).rpartition(".")[2] if isinstance(node, Call) else describe(node)

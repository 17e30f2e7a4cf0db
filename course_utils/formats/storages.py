"""What a pickle says about a storage: the memory in which tensors lie."""

from typing import Any, NamedTuple

from course_utils.formats.dtypes import ITEMSIZE, STORAGES
from course_utils.formats.pickle_nodes import (
    Call,
    Global,
    MalformedPickleError,
    NotReadError,
    PersistentId,
    describe,
)

PROTOCOL_0 = (
    "it is of pickle protocol 0, which has text where a storage is referred to: torch.save writes "
    "it with pickle_protocol=0, and no torch.load reads it"
)


class StorageInfo(NamedTuple):
    """A storage as the file describes it: its key, location tag, dtype and bytes."""

    key: str
    device: str
    dtype: str
    nbytes: int


def storage_of(reference: PersistentId) -> StorageInfo:
    """Return what a pickle says about a storage it refers to.

    Raises:
        MalformedPickleError: it is no storage.
        NotReadError: it is one, described as nobody reads it.
    """
    value = reference.value
    if isinstance(value, tuple) and len(value) >= 5 and value[0] == "storage":
        # Before 1.6 there was one more, about views of storages.
        _, kind, key, device, count, *_ = value
        if isinstance(key, str) and isinstance(device, str):
            size_of(count)
            dtype = _storage_dtype(kind)
            return StorageInfo(key, device, dtype, count * ITEMSIZE[dtype])
    if isinstance(value, str) and value.startswith("('storage',"):
        raise NotReadError(PROTOCOL_0)
    raise MalformedPickleError("it refers to something that is no storage")


def size_of(value: Any) -> int:
    """Return a size, stride or offset.

    Raises:
        MalformedPickleError: it is none.
    """
    if type(value) is not int or not 0 <= value < 2**63:
        raise MalformedPickleError(f"{describe(value)} is not a size or stride")
    return value


def sizes_of(values: Any) -> tuple[int, ...]:
    """Return sizes, strides or offsets.

    Raises:
        MalformedPickleError: they are none.
    """
    if isinstance(values, Call):  # torch.Size, a tuple by another name
        (values,) = values.arguments
    for value in values:
        if type(value) is not int or not 0 <= value < 2**63:
            raise MalformedPickleError(f"{describe(values)} is not a size or stride")
    if len(values) > 64:
        raise MalformedPickleError(f"a tensor of {len(values)} dimensions")
    return tuple(values)


SIZE = "torch.Size"


def _storage_dtype(kind: Any) -> str:
    name = kind.name if isinstance(kind, Global) else describe(kind)
    if name not in STORAGES:
        raise MalformedPickleError(f"{name} is not a type of storage")
    return STORAGES[name]

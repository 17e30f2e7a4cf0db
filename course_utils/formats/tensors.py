"""Finds the tensors in the inert tree of a checkpoint's pickle, with their paths."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import chain
from math import prod
from typing import Any, NamedTuple

import torch

from course_utils.formats.pickle_nodes import (
    Call,
    Global,
    MalformedPickleError,
    PersistentId,
    describe,
)

# The names torch.save gives to typed storages; newer dtypes name themselves.
STORAGE_DTYPES = {
    "DoubleStorage": torch.float64,
    "FloatStorage": torch.float32,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
    "ComplexFloatStorage": torch.complex64,
    "ComplexDoubleStorage": torch.complex128,
    "UntypedStorage": torch.uint8,
}
DEPTH = 256  # of nested containers; real checkpoints stay below ten
PATH = 4096  # characters in the dotted path of a tensor
SMALL = 10_000  # places visited in the smallest of files before references count as endless
QUANTIZED = {
    "QUInt8Storage": torch.quint8,
    "QInt8Storage": torch.qint8,
    "QInt32Storage": torch.qint32,
}


@dataclass(frozen=True, slots=True)
class TensorInfo:
    """A tensor as the file describes it.

    Attributes:
        name: dotted path in the checkpoint, for example ``model.head.weight``.
        shape: length of each dimension.
        stride: steps in the storage, in elements.
        dtype: of the elements.
        device: the location tag of its storage, for example ``cuda:0``.
        storage: key of the storage, None for a meta tensor; tensors with one key share memory.
        storage_offset: its first element, counted in elements from the storage's start.
        storage_nbytes: bytes of the whole storage.
        record: the record that holds the storage, None for a meta tensor.
        requires_grad: whether it would be trained.
    """

    name: str
    shape: tuple[int, ...]
    stride: tuple[int, ...]
    dtype: torch.dtype
    device: str
    storage: str | None
    storage_offset: int
    storage_nbytes: int
    record: str | None
    requires_grad: bool

    @property
    def nbytes(self) -> int:
        """Bytes of its elements; its storage may have more."""
        return prod(self.shape) * self.dtype.itemsize

    @property
    def span(self) -> int:
        """Elements from its first to its last, both included, in the storage."""
        if 0 in self.shape:
            return 0
        return 1 + sum((n - 1) * step for n, step in zip(self.shape, self.stride, strict=True))


class StorageInfo(NamedTuple):
    """A storage as the file describes it: its key, location tag, dtype and bytes."""

    key: str
    device: str
    dtype: torch.dtype
    nbytes: int


def storage_of(reference: PersistentId) -> StorageInfo:
    """Return what a pickle says about a storage it refers to.

    Raises:
        MalformedPickleError: it is no storage.
    """
    match reference.value:
        # Before 1.6 there was one more, about views of storages.
        case ("storage", kind, str(key), str(device), count, *_):
            (count,) = _sizes((count,))
            dtype = _storage_dtype(kind)
            return StorageInfo(key, device, dtype, count * dtype.itemsize)
    raise MalformedPickleError("it refers to something that is no storage")


def find_tensors(root: Any, *, limit: int) -> dict[str, TensorInfo]:
    """Return every tensor under ``root`` by its dotted path.

    Args:
        root: what `pickles.read_pickle` built.
        limit: most places to visit; a pickle of n bytes has no honest use for more than n.

    Raises:
        MalformedPickleError: a tensor makes no sense, or references multiply beyond ``limit``.
    """
    found: dict[str, TensorInfo] = {}
    for path, node in _walk(root, limit):
        info = tensor_at(path, node)
        if info is None:
            continue
        while path in found:  # {"a": {"b": …}, "a.b": …}
            path += "'"
        found[path] = info
    return found


def is_tensor(node: Any) -> bool:
    """Whether a node is a call that rebuilds a tensor."""
    return isinstance(node, Call) and describe(node.function) in _REBUILD


def tensor_at(path: str, node: Call) -> TensorInfo | None:
    """Return what a call that rebuilds a tensor describes; None if it rebuilds something else.

    Raises:
        MalformedPickleError: its arguments make no sense, or reach beyond its storage.
    """
    rebuild = _REBUILD.get(describe(node.function))
    if rebuild is None:
        return None
    try:
        return rebuild(path, node.arguments)
    except MalformedPickleError:
        raise
    except (ValueError, TypeError, IndexError, AttributeError, KeyError, RecursionError) as error:
        raise MalformedPickleError(f"tensor {path} makes no sense: {error}") from None


def _walk(root: Any, limit: int) -> Iterator[tuple[str, Call]]:
    """Yield (path, call) for every call, in the order of the file; cycles are cut."""
    pending: list[tuple[str, str, Any, tuple[int, ...]]] = [("", "", root, ())]
    spent = 0
    while pending:
        parent, name, node, parents = pending.pop()
        path = f"{parent}.{name}" if parent else name
        children = [] if is_tensor(node) else _children(node)
        # References to one node cost two bytes each, so all work they cause is counted.
        spent += 1 + _length(node) + len(path) // 8
        if spent > max(limit, SMALL):
            raise MalformedPickleError("its references multiply without end")
        if id(node) in parents:
            continue
        if len(parents) > DEPTH or len(path) > PATH:
            raise MalformedPickleError(
                f"containers nested more than {DEPTH} deep, or endless names"
            )
        if isinstance(node, Call):
            yield path, node
        inside = (*parents, id(node))
        pending += [(path, name, child, inside) for name, child in reversed(children)]


def _length(node: Any) -> int:
    if isinstance(node, Call):
        return len(node.items) + _length(node.arguments) + _length(node.state)
    return len(node) if isinstance(node, dict | list | tuple) else 0


def _children(node: Any) -> list[tuple[str, Any]]:
    pairs: Iterable[tuple[Any, Any]] = ()
    if isinstance(node, dict):
        pairs = node.items()
    elif isinstance(node, list | tuple):
        pairs = enumerate(node)
    elif isinstance(node, Call):
        state = node.state if isinstance(node.state, dict) else {"state": node.state}
        pairs = chain(_children(node.arguments), state.items(), node.items)
    return [(_name(key), value) for key, value in pairs if _may_hold(value)]


def _name(key: Any) -> str:
    return key if isinstance(key, str) else describe(key)


def _may_hold(value: Any) -> bool:
    return isinstance(value, dict | list | tuple | Call)


def _strided_first(path: str, arguments: Any) -> TensorInfo:
    storage, offset, shape, stride = arguments
    return _view(path, storage, offset, shape, stride, False)


def _strided(path: str, arguments: Any) -> TensorInfo:
    storage, offset, shape, stride, requires_grad, *_rest = arguments
    return _view(path, storage, offset, shape, stride, requires_grad)


def _strided_with_dtype(path: str, arguments: Any) -> TensorInfo:
    storage, offset, shape, stride, requires_grad, _hooks, dtype, *_rest = arguments
    return _view(path, storage, offset, shape, stride, requires_grad, _dtype(dtype))


def _quantized(path: str, arguments: Any) -> TensorInfo:
    storage, offset, shape, stride, _quantizer, requires_grad, *_rest = arguments
    return _view(path, storage, offset, shape, stride, requires_grad)


def _meta(path: str, arguments: Any) -> TensorInfo:
    dtype, shape, stride, requires_grad = arguments
    return TensorInfo(
        path, _sizes(shape), _sizes(stride), _dtype(dtype), "meta", None, 0, 0, None,
        requires_grad is True,
    )  # fmt: skip


def _parameter(path: str, arguments: Any) -> TensorInfo | None:
    data, requires_grad, *_rest = arguments
    info = tensor_at(path, data) if isinstance(data, Call) else None
    if info is None:
        return None
    values = {name: getattr(info, name) for name in TensorInfo.__slots__}
    return TensorInfo(**{**values, "requires_grad": requires_grad is True})


def _subclass(path: str, arguments: Any) -> TensorInfo | None:
    function, _type, inner, *_rest = arguments
    return tensor_at(path, Call(function, inner))


def _view(
    path: str,
    storage: Any,
    offset: Any,
    shape: Any,
    stride: Any,
    requires_grad: Any,
    dtype: torch.dtype | None = None,
) -> TensorInfo:
    if not isinstance(storage, PersistentId):
        raise MalformedPickleError(f"tensor {path} has no storage")
    found = storage_of(storage)
    (offset,), shape, stride = _sizes((offset,)), _sizes(shape), _sizes(stride)
    info = TensorInfo(
        path, shape, stride, dtype or found.dtype, found.device, found.key, offset, found.nbytes,
        f"data/{found.key}", requires_grad is True,
    )  # fmt: skip
    if info.nbytes >= 2**63:
        raise MalformedPickleError(f"tensor {path} has more elements than can be counted")
    if info.span and (offset + info.span) * info.dtype.itemsize > info.storage_nbytes:
        raise MalformedPickleError(f"tensor {path} reaches beyond its storage")
    return info


def _storage_dtype(kind: Any) -> torch.dtype:
    name = kind.name if isinstance(kind, Global) else describe(kind)
    found = STORAGE_DTYPES.get(name) or QUANTIZED.get(name)
    if found is None:
        raise MalformedPickleError(f"{name} is not a type of storage")
    return found


def _dtype(node: Any) -> torch.dtype:
    found = getattr(torch, node.name, None) if isinstance(node, Global) else None
    if not isinstance(found, torch.dtype):
        raise MalformedPickleError(f"{describe(node)} is not a dtype")
    return found


def _sizes(values: Any) -> tuple[int, ...]:
    if isinstance(values, Call):  # torch.Size, a tuple by another name
        (values,) = values.arguments
    if not all(isinstance(value, int) and 0 <= value < 2**63 for value in values):
        raise MalformedPickleError(f"{describe(values)} is not a size or stride")
    if len(values) > 64:
        raise MalformedPickleError(f"a tensor of {len(values)} dimensions")
    return tuple(values)


_REBUILD: dict[str, Callable[[str, Any], TensorInfo | None]] = {
    "torch._utils._rebuild_tensor": _strided_first,
    "torch._utils._rebuild_tensor_v2": _strided,
    "torch._utils._rebuild_tensor_v3": _strided_with_dtype,
    "torch._utils._rebuild_qtensor": _quantized,
    "torch._utils._rebuild_meta_tensor_no_storage": _meta,
    "torch._utils._rebuild_parameter": _parameter,
    "torch._utils._rebuild_parameter_with_state": _parameter,
    "torch._tensor._rebuild_from_type_v2": _subclass,
}

"""Finds the tensors in the inert tree of a checkpoint's pickle, with their paths."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from math import prod
from typing import Any

import torch

from course_utils.inert import (
    Call,
    Global,
    MalformedPickleError,
    PersistentId,
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
        info = _tensor(path, node)
        if info is None:
            continue
        while path in found:  # {"a": {"b": …}, "a.b": …}
            path += "'"
        found[path] = info
    return found


def is_tensor(node: Any) -> bool:
    """Whether a node is a call that rebuilds a tensor."""
    return isinstance(node, Call) and str(node.function) in _REBUILD


def _walk(root: Any, limit: int) -> Iterator[tuple[str, Any]]:
    """Yield (path, call) for every call, in the order of the file; cycles are cut."""
    pending: list[tuple[str, Any, tuple[int, ...]]] = [("", root, ())]
    visited = 0
    while pending:
        path, node, parents = pending.pop()
        visited += 1
        if visited > limit:
            raise MalformedPickleError("its references multiply without end")
        if id(node) in parents:
            continue
        if len(parents) > DEPTH:
            raise MalformedPickleError(f"containers nested more than {DEPTH} deep")
        if isinstance(node, Call):
            yield path, node
            if is_tensor(node):
                continue
        children = _children(node)
        if children:
            inside = (*parents, id(node))
            pending += [
                (f"{path}.{name}" if path else name, child, inside)
                for name, child in reversed(children)
            ]


def _children(node: Any) -> list[tuple[str, Any]]:
    if isinstance(node, dict):
        return [(str(key), value) for key, value in node.items() if _may_hold(value)]
    if isinstance(node, list | tuple):
        return [(str(index), value) for index, value in enumerate(node) if _may_hold(value)]
    if isinstance(node, Call):
        state = node.state if isinstance(node.state, dict) else {"state": node.state}
        items = [(str(key), value) for key, value in node.items]
        arguments = list(_children(node.arguments))
        return [pair for pair in (*arguments, *state.items(), *items) if _may_hold(pair[1])]
    return []


def _may_hold(value: Any) -> bool:
    return isinstance(value, dict | list | tuple | Call)


def _tensor(path: str, node: Call) -> TensorInfo | None:
    rebuild = _REBUILD.get(str(node.function))
    if rebuild is None:
        return None
    try:
        return rebuild(path, node.arguments)
    except MalformedPickleError:
        raise
    except (ValueError, TypeError, IndexError, AttributeError, KeyError) as error:
        raise MalformedPickleError(f"tensor {path} makes no sense: {error}") from None


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
    info = _tensor(path, data) if isinstance(data, Call) else None
    if info is None:
        return None
    values = {name: getattr(info, name) for name in TensorInfo.__slots__}
    return TensorInfo(**{**values, "requires_grad": requires_grad is True})


def _subclass(path: str, arguments: Any) -> TensorInfo | None:
    function, _type, inner, *_rest = arguments
    return _tensor(path, Call(function, inner))


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
    kind, storage_type, key, location, count = storage.value
    if kind != "storage" or not (isinstance(key, str) and isinstance(location, str)):
        raise MalformedPickleError(f"tensor {path} has a storage of a strange kind")
    stored = _storage_dtype(storage_type)
    (offset, count), shape, stride = _sizes((offset, count)), _sizes(shape), _sizes(stride)
    info = TensorInfo(
        path, shape, stride, dtype or stored, location, key, offset, count * stored.itemsize,
        f"data/{key}", requires_grad is True,
    )  # fmt: skip
    if info.span and (offset + info.span) * info.dtype.itemsize > info.storage_nbytes:
        raise MalformedPickleError(f"tensor {path} reaches beyond its storage")
    return info


def _storage_dtype(kind: Any) -> torch.dtype:
    name = kind.name if isinstance(kind, Global) else str(kind)
    return {**STORAGE_DTYPES, **QUANTIZED}[name]


def _dtype(node: Any) -> torch.dtype:
    found = getattr(torch, node.name, None) if isinstance(node, Global) else None
    if not isinstance(found, torch.dtype):
        raise MalformedPickleError(f"{node} is not a dtype")
    return found


def _sizes(values: Any) -> tuple[int, ...]:
    if isinstance(values, Call):  # torch.Size, a tuple by another name
        (values,) = values.arguments
    if not all(isinstance(value, int) and value >= 0 for value in values):
        raise MalformedPickleError(f"{values!r} are not sizes")
    if len(values) > 64:
        raise MalformedPickleError(f"a tensor of {len(values)} dimensions")
    return tuple(values)


_REBUILD: dict[str, Callable[[str, Any], TensorInfo | None]] = {
    "torch._utils._rebuild_tensor_v2": _strided,
    "torch._utils._rebuild_tensor_v3": _strided_with_dtype,
    "torch._utils._rebuild_qtensor": _quantized,
    "torch._utils._rebuild_meta_tensor_no_storage": _meta,
    "torch._utils._rebuild_parameter": _parameter,
    "torch._utils._rebuild_parameter_with_state": _parameter,
    "torch._tensor._rebuild_from_type_v2": _subclass,
}

"""The tensors and plain values in what a checkpoint's pickle would build, and no others."""

from collections import Counter, OrderedDict
from collections.abc import Callable
from itertools import accumulate
from math import prod
from operator import mul
from typing import Any, NamedTuple

import torch

from course_utils.formats.pickle_nodes import Call, OrderedDictNode, describe
from course_utils.formats.plain_nodes import SetOf, plain
from course_utils.formats.safetensors import Entry
from course_utils.formats.tensors import TensorInfo, is_tensor, tensor_at

# What else rebuilds a tensor (quantized, subclasses) is torch's own business.
PARAMETER = "torch._utils._rebuild_parameter"
VIEWS = {"torch._utils._rebuild_tensor_v2": 6, "torch._utils._rebuild_tensor_v3": 7}


class NotInPlaceError(Exception):
    """Only the ordinary way, ``load_state_dict`` with new tensors, does this right; says why."""


class SavedTensor(NamedTuple):
    """A tensor as a file describes it: see `TensorInfo`; ``start`` in bytes from its record's."""

    name: str
    record: str | None
    start: int
    storage_nbytes: int
    span: int
    shape: tuple[int, ...]
    stride: tuple[int, ...]
    dtype: torch.dtype


def saved_tensor(node: Any, name: str) -> SavedTensor | None:
    """Return what a node says about a tensor, None if it is none.

    Raises:
        NotInPlaceError: it is one that only torch can rebuild.
    """
    if isinstance(node, Entry):
        shape, size = node.shape, prod(node.shape)
        return SavedTensor(
            name, "", node.start, 0, size, shape, _contiguous(shape), _dtype(node.dtype)
        )
    if not is_tensor(node):
        return None
    inner = node
    if describe(node.function) == PARAMETER:
        inner = node.arguments[0]
    metadata = VIEWS.get(describe(getattr(inner, "function", None)))
    if metadata is None or any(inner.arguments[metadata:]):
        raise NotInPlaceError(
            f"{name} is rebuilt by {describe(inner.function)} in a way of its own"
        )
    info = tensor_at(name, node)
    if not isinstance(info, TensorInfo):
        raise NotInPlaceError(f"{name} is no plain tensor")
    dtype = _dtype(info.dtype)
    start = info.storage_offset * dtype.itemsize
    place = info.record, start, info.storage_nbytes
    return SavedTensor(name, *place, info.span, info.shape, info.stride, dtype)


def _dtype(dtype: Any) -> torch.dtype:
    return dtype if isinstance(dtype, torch.dtype) else getattr(torch, dtype)


def _contiguous(shape: tuple[int, ...]) -> tuple[int, ...]:
    strides = accumulate(reversed(shape[1:]), mul, initial=1) if shape else ()
    return tuple(strides)[::-1]


def dense(saved: SavedTensor) -> tuple[int, ...]:
    """Return the strides for a new tensor: the file's, if they leave no gaps."""
    return saved.stride if saved.span == prod(saved.shape) else _contiguous(saved.shape)


def rebuilt(node: Any, rebuild: Callable[[Any], Any]) -> Any:
    """Copy plain containers and values; anything else only the unpickler can make."""
    node = plain(node)
    if isinstance(node, OrderedDictNode):
        return OrderedDict((key, rebuild(value)) for key, value in node.items())
    if type(node) is dict:
        return {key: rebuild(value) for key, value in node.items()}
    if type(node) in (list, tuple):
        return type(node)(map(rebuild, node))
    if isinstance(node, SetOf) and not node.is_frozen:
        return set(map(rebuild, node.items))
    if isinstance(node, Call) and node.state is None and not node.items:
        make = VALUES.get(describe(node.function))
        if make is not None:
            return make(*map(rebuild, node.arguments))
    if node is None or type(node) in _PLAIN:
        return node
    what = describe(node.function) if isinstance(node, Call) else describe(node)
    raise NotInPlaceError(f"it holds {what}, which is no plain value")


VALUES: dict[str, Callable[..., Any]] = {"torch.Size": torch.Size, "collections.Counter": Counter}
_PLAIN = (bool, int, float, complex, str, bytes, bytearray)


def kind_of(node: Any) -> str:
    """Say what a node is, for messages."""
    return "tensor" if is_tensor(node) or isinstance(node, Entry) else type(node).__name__

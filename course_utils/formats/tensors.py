"""What a pickle says about a tensor: shape, dtype, where its elements lie, and all the rest.

A tensor is understood whole or not at all: what its description says beyond what is known here
makes it an `OtherTensor`, which is listed and never passed over. The descriptions are those of
``torch._utils._rebuild_*``.
"""

from collections.abc import Callable
from math import prod
from typing import Any, NamedTuple

from course_utils.formats.dtypes import ITEMSIZE, PER_BYTE
from course_utils.formats.pickle_nodes import (
    Call,
    Global,
    MalformedPickleError,
    PersistentId,
    describe,
)
from course_utils.formats.storages import size_of, sizes_of, storage_of

NESTED = "nested tensor"
TYPED = "torch._tensor._rebuild_from_type_v2"  # holds another call's function and arguments
PLAIN_TYPES = {"torch.Tensor", "torch.nn.parameter.Parameter", "torch.nn.parameter.Buffer"}


class TensorInfo(NamedTuple):
    """A tensor as the file describes it; its elements lie in memory at regular steps.

    Attributes:
        name: dotted path in the checkpoint, for example ``model.head.weight``.
        shape: length of each dimension.
        stride: steps in the storage, in elements.
        dtype: of the elements, by torch's name: ``"float32"``.
        device: the location tag of its storage, for example ``cuda:0``.
        storage: key of the storage, None for a meta tensor; tensors with one key share memory.
        storage_offset: its first element, counted in elements from the storage's start.
        storage_nbytes: bytes of the whole storage.
        record: the record that holds the storage, None for a meta tensor.
        requires_grad: whether it would be trained.
        conj: whether each element stands for its complex conjugate.
        neg: whether each element stands for its negative.
        quantizer: how numbers become elements, as the file says; None for all but quantized ones.
        subclass: its class where that is not torch's own, as ``module.name``.
        attributes: what would be set on it as attributes, as nodes; None for nothing.
        part_of: the name of the `OtherTensor` that is made of it, if it is such a part.
    """

    name: str
    shape: tuple[int, ...]
    stride: tuple[int, ...]
    dtype: str
    device: str
    storage: str | None
    storage_offset: int
    storage_nbytes: int
    record: str | None
    requires_grad: bool
    conj: bool = False
    neg: bool = False
    quantizer: Any = None
    subclass: str | None = None
    attributes: Any = None
    part_of: str | None = None

    @property
    def itemsize(self) -> int:
        """Bytes of one element."""
        return ITEMSIZE[self.dtype]

    @property
    def nbytes(self) -> int:
        """Bytes of its elements; its storage may have more."""
        count = prod(self.shape) * ITEMSIZE[self.dtype]
        return -(-count // PER_BYTE[self.dtype]) if self.dtype in PER_BYTE else count

    @property
    def span(self) -> int:
        """Elements from its first to its last, both included, in the storage."""
        if 0 in self.shape:
            return 0
        return 1 + sum((n - 1) * step for n, step in zip(self.shape, self.stride, strict=True))


class OtherTensor(NamedTuple):
    """A tensor whose elements are not plain memory, or that is not understood.

    Attributes:
        name: dotted path in the checkpoint.
        kind: its class or layout, for example ``sparse_coo`` or ``torch.distributed.DTensor``.
        shape: length of each dimension, None where the file does not say.
        dtype: by torch's name, None where the file does not say.
        reason: why it cannot be read.
        node: the call that would make it.
    """

    name: str
    kind: str
    shape: tuple[int, ...] | None
    dtype: str | None
    reason: str
    node: Any = None


class UnknownTensorError(ValueError):
    """A tensor's description says something that is not known here."""


def is_tensor(node: Any) -> bool:
    """Whether a node is a call that rebuilds a tensor of any kind."""
    return isinstance(node, Call) and describe(node.function) in _REBUILD


def tensor_at(path: str, node: Call) -> TensorInfo | OtherTensor | None:
    """Return what a call that rebuilds a tensor describes; None if it rebuilds something else.

    Raises:
        MalformedPickleError: its arguments make no sense, or reach beyond its storage.
    """
    rebuild = _REBUILD.get(describe(node.function))
    if rebuild is None:
        return None
    try:
        return rebuild(path, node.arguments)
    except UnknownTensorError as error:
        return OtherTensor(path, "tensor", None, None, str(error))
    except MalformedPickleError:
        raise
    except (ValueError, TypeError, IndexError, AttributeError, KeyError, RecursionError) as error:
        raise MalformedPickleError(f"tensor {path} makes no sense: {error}") from None


def _strided_first(path: str, arguments: Any) -> TensorInfo:
    storage, offset, shape, stride = arguments
    return _view(path, storage, offset, shape, stride, False)


def _strided(path: str, arguments: Any) -> TensorInfo:
    storage, offset, shape, stride, requires_grad, _hooks, *bits = arguments
    return _view(path, storage, offset, shape, stride, requires_grad, **_bits(bits))


def _strided_with_dtype(path: str, arguments: Any) -> TensorInfo:
    storage, offset, shape, stride, requires_grad, _hooks, dtype, *bits = arguments
    return _view(path, storage, offset, shape, stride, requires_grad, _dtype(dtype), **_bits(bits))


def _quantized(path: str, arguments: Any) -> TensorInfo:
    storage, offset, shape, stride, quantizer, requires_grad, *rest = arguments
    if len(rest) > 1 or not isinstance(quantizer, tuple):
        raise UnknownTensorError("its quantization is described in an unknown way")
    return _view(path, storage, offset, shape, stride, requires_grad, quantizer=quantizer)


def _meta(path: str, arguments: Any) -> TensorInfo:
    dtype, shape, stride, requires_grad = arguments
    return TensorInfo(
        path, sizes_of(shape), sizes_of(stride), _dtype(dtype), "meta", None, 0, 0, None,
        requires_grad is True,
    )  # fmt: skip


def _parameter(path: str, arguments: Any) -> TensorInfo | OtherTensor | None:
    data, requires_grad, _hooks, *state = arguments
    found = tensor_at(path, data) if isinstance(data, Call) else None
    if not isinstance(found, TensorInfo):
        return found
    attributes = state[0] if state else found.attributes
    return found._replace(requires_grad=requires_grad is True, attributes=attributes or None)


def _typed(path: str, arguments: Any) -> TensorInfo | OtherTensor | None:
    function, kind, inner, state = arguments
    found = tensor_at(path, Call(function, inner))
    name = describe(kind)
    if isinstance(found, OtherTensor):
        return found if name in PLAIN_TYPES else found._replace(kind=name)
    if found is None:
        raise UnknownTensorError(f"it is rebuilt by {describe(function)}")
    return found._replace(subclass=None if name in PLAIN_TYPES else name, attributes=state or None)


def _sparse(path: str, arguments: Any) -> OtherTensor:
    layout, data = arguments
    kind = "sparse"
    match layout:
        case Call(arguments=(str(text),)):
            kind = text.removeprefix("torch.")
    sizes = [x for x in data if isinstance(x, Call) and describe(x.function) == "torch.Size"]
    shape = sizes_of(sizes[0]) if sizes else None
    return OtherTensor(path, kind, shape, None, "its layout is sparse")


def _nested(path: str, arguments: Any) -> OtherTensor:
    return OtherTensor(path, NESTED, None, None, "its rows have lengths of their own")


def _wrapper(path: str, arguments: Any) -> OtherTensor:
    kind, dtype, shape, *_ = arguments
    reason = "it is made of other tensors in a way that only its class knows"
    return OtherTensor(path, describe(kind), sizes_of(shape), _dtype(dtype), reason)


def _from_elsewhere(path: str, arguments: Any) -> OtherTensor:
    dtype = next((x for x in arguments if isinstance(x, Global) and x.name in ITEMSIZE), None)
    name = dtype.name if dtype else None
    return OtherTensor(path, "tensor of another device", None, name, "it is rebuilt from a copy")


def _view(
    path: str,
    storage: Any,
    offset: Any,
    shape: Any,
    stride: Any,
    requires_grad: Any,
    dtype: str | None = None,
    **more: Any,
) -> TensorInfo:
    if not isinstance(storage, PersistentId):
        raise MalformedPickleError(f"tensor {path} has no storage")
    found = storage_of(storage)
    offset, shape, stride = size_of(offset), sizes_of(shape), sizes_of(stride)
    info = TensorInfo(
        path, shape, stride, dtype or found.dtype, found.device, found.key, offset, found.nbytes,
        f"data/{found.key}", requires_grad is True, **more,
    )  # fmt: skip
    if info.nbytes >= 2**63:
        raise MalformedPickleError(f"tensor {path} has more elements than can be counted")
    span = info.span
    reach = (offset + span) * ITEMSIZE[info.dtype] // PER_BYTE.get(info.dtype, 1)
    if span and reach > info.storage_nbytes:
        raise MalformedPickleError(f"tensor {path} reaches beyond its storage")
    return info


def _bits(rest: list[Any]) -> dict[str, Any]:
    """Return the conjugate and negative bits, which torch stores in a last argument."""
    if not rest or rest == [None]:
        return {}
    if len(rest) > 1 or not isinstance(rest[0], dict) or not rest[0].keys() <= {"conj", "neg"}:
        raise UnknownTensorError(f"it is described with more than is known here: {_shown(rest)}")
    return {name: bool(value) for name, value in rest[0].items()}


def _shown(rest: list[Any]) -> str:
    return ", ".join(
        ", ".join(map(describe, x)) if isinstance(x, dict) else describe(x) for x in rest
    )


def _dtype(node: Any) -> str:
    if not (isinstance(node, Global) and node.module == "torch" and node.name in ITEMSIZE):
        raise UnknownTensorError(f"{describe(node)} is no dtype that is known here")
    return node.name


_REBUILD: dict[str, Callable[[str, Any], TensorInfo | OtherTensor | None]] = {
    "torch._utils._rebuild_tensor": _strided_first,
    "torch._utils._rebuild_tensor_v2": _strided,
    "torch._utils._rebuild_tensor_v3": _strided_with_dtype,
    "torch._utils._rebuild_qtensor": _quantized,
    "torch._utils._rebuild_meta_tensor_no_storage": _meta,
    "torch._utils._rebuild_parameter": _parameter,
    "torch._utils._rebuild_parameter_with_state": _parameter,
    "torch._utils._rebuild_sparse_tensor": _sparse,
    "torch._utils._rebuild_nested_tensor": _nested,
    "torch._utils._rebuild_wrapper_subclass": _wrapper,
    "torch._utils._rebuild_device_tensor_from_numpy": _from_elsewhere,
    "torch._utils._rebuild_device_tensor_from_cpu_tensor": _from_elsewhere,
    TYPED: _typed,
}

"""What a state may hold so that every save can be loaded: tensors, plain values, containers."""

import copy
from collections import Counter, OrderedDict
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from course_utils.errors import CheckpointWriteError

_ATOMS = (type(None), bool, int, float, complex, str, bytes, bytearray)
_OF_TORCH = (torch.Size, torch.dtype, torch.device)
_DICTS = (dict, OrderedDict, Counter)
_NUMPY: dict[str, Any] = {
    kind.__name__.rstrip("_"): kind
    for kind in (np.bool_, np.str_, np.bytes_, np.int8, np.int16, np.int32, np.int64, np.uint8,
                 np.uint16, np.uint32, np.uint64, np.float16, np.float32, np.float64,
                 np.complex64, np.complex128)
}  # fmt: skip


def plain(value: Any, name: str, numbers: dict[str, str] | None = None) -> Any:
    """Return a value in new containers, NumPy's numbers as Python's; tensors stay as they are.

    Args:
        value: a state, or a part of one.
        name: its dotted path, for messages.
        numbers: where to note which numbers were NumPy's, by dotted path, for `as_numpy`. In sets
            and as keys they become Python's for good, which are equal and found in their place.

    Raises:
        CheckpointWriteError: something in it could be saved, but not loaded again.
    """
    if type(value) is bytes and not value:
        raise CheckpointWriteError(
            f"{name} is bytes of length 0, which torch.load(weights_only=True) refuses; "
            "make it None or a bytearray"
        )
    if type(value) in _ATOMS or type(value) in _OF_TORCH:
        return value
    if isinstance(value, Tensor):
        return _tensor(value, name)
    if isinstance(value, np.generic) and (kind := _numpy_name(value)) in _NUMPY:
        if numbers is not None:
            numbers[name] = kind
        return plain(value.item(), name)
    if type(value) in _DICTS:
        pairs = {plain(k, name): plain(v, f"{name}.{k}", numbers) for k, v in value.items()}
        new = type(value)(pairs)
        if hasattr(value, "__dict__"):  # a state_dict's versions of modules, in _metadata
            vars(new).update(vars(value))
        return new
    if type(value) is set:
        return {plain(item, f"{name}.{i}") for i, item in enumerate(value)}
    if type(value) in (list, tuple):
        return type(value)(plain(v, f"{name}.{i}", numbers) for i, v in enumerate(value))
    raise CheckpointWriteError(
        f"{name} is a {type(value).__module__}.{type(value).__qualname__}, which could be saved "
        f"and not loaded again; {_remedy(value)}"
    )


def as_numpy(value: Any, name: str, numbers: Mapping[str, str]) -> Any:
    """Return a plain value with NumPy's numbers where `plain` has noted them; others stay."""
    if type(value) in (list, tuple):
        return type(value)(as_numpy(v, f"{name}.{i}", numbers) for i, v in enumerate(value))
    if type(value) in _DICTS:
        for key, item in value.items():
            value[key] = as_numpy(item, f"{name}.{key}", numbers)
    kind = _NUMPY.get(numbers.get(name, ""))
    return kind(value) if kind and type(value) is type(kind().item()) else value


def copied(value: Any) -> Any:
    """Return a deep copy, also of sparse tensors that `copy.deepcopy` cannot copy."""
    return copy.deepcopy(value, {id(t): t.clone() for t in compressed(value)})


def compressed(value: Any) -> Iterator[Tensor]:
    """Yield the tensors of a state that `copy.deepcopy` cannot copy: CSR and its like."""
    if isinstance(value, Tensor):
        if value.layout not in (torch.strided, torch.sparse_coo):
            yield value
    elif isinstance(value, Mapping | list | tuple | set):
        for inner in value.values() if isinstance(value, Mapping) else value:
            yield from compressed(inner)


def whole_number(value: Any) -> int | None:
    """Return a number of Python's, NumPy's or a tensor of one element as int; None for others."""
    if isinstance(value, np.generic) or (isinstance(value, Tensor) and value.numel() == 1):
        value = value.item()
    return value if isinstance(value, int) else None


def _numpy_name(value: np.generic) -> str:
    return {"U": "str", "S": "bytes"}.get(value.dtype.kind, value.dtype.name)


def _tensor(tensor: Tensor, name: str) -> Tensor:
    if nn.parameter.is_lazy(tensor):
        raise CheckpointWriteError(f"{name} has no shape yet; run one batch through the model")
    if tensor.is_meta:
        raise CheckpointWriteError(f"{name} is on the meta device: it has no values to save")
    return tensor


def _remedy(value: Any) -> str:
    if isinstance(value, np.generic):
        return "make it one of Python's numbers or texts"
    if isinstance(value, np.ndarray):
        return "make it a tensor: torch.from_numpy(…)"
    if isinstance(value, Mapping):
        return "make it a dict: dict(…)"
    if callable(value):
        return "save what it is made from instead"
    return "save its plain values, such as vars(…) or str(…)"

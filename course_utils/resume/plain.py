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


def plain(value: Any, name: str) -> Any:
    """Return a value in new containers, NumPy's numbers as Python's; tensors stay as they are.

    Args:
        value: a state, or a part of one.
        name: its dotted path, for messages.

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
    if isinstance(value, np.generic):
        return plain(value.item(), name)
    if type(value) in _DICTS:
        pairs = {plain(key, name): plain(v, f"{name}.{key}") for key, v in value.items()}
        new = type(value)(pairs)
        if hasattr(value, "__dict__"):  # a state_dict's versions of modules, in _metadata
            vars(new).update(vars(value))
        return new
    if type(value) in (list, tuple, set):
        return type(value)(plain(item, f"{name}.{i}") for i, item in enumerate(value))
    raise CheckpointWriteError(
        f"{name} is a {type(value).__module__}.{type(value).__qualname__}, which could be saved "
        f"and not loaded again; {_remedy(value)}"
    )


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


def _tensor(tensor: Tensor, name: str) -> Tensor:
    if nn.parameter.is_lazy(tensor):
        raise CheckpointWriteError(f"{name} has no shape yet; run one batch through the model")
    if tensor.is_meta:
        raise CheckpointWriteError(f"{name} is on the meta device: it has no values to save")
    return tensor


def _remedy(value: Any) -> str:
    if isinstance(value, np.ndarray):
        return "make it a tensor: torch.from_numpy(…)"
    if isinstance(value, Mapping):
        return "make it a dict: dict(…)"
    if callable(value):
        return "save what it is made from instead"
    return "save its plain values, such as vars(…) or str(…)"

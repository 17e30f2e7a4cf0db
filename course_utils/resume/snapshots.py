"""What a value was at one time, to be compared later: small ones as copies, large ones as marks."""

import weakref
from collections import deque
from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from course_utils.resume.compare import differences
from course_utils.resume.rng import OwnGenerator, is_generator

COPIED = 1 << 20  # bytes of a tensor, up to which its values are compared
ITEMS = 1000  # of a container, up to which they are looked at; of a longer one, its length is
_PLAIN = (type(None), bool, int, float, complex, str, bytes, np.generic, torch.dtype, torch.device)


def snapshot(value: Any, saved: Collection[int] = (), depth: int = 4) -> Any:
    """Return what `same` compares with a later snapshot of a value.

    Args:
        value: anything; of an object of the user's own, its attributes are looked at.
        saved: places in memory, as `place` gives them, of tensors that are not to be looked at.
        depth: how many containers and objects inside one another are looked into.
    """
    if isinstance(value, _PLAIN):
        return value
    if isinstance(value, Tensor):
        return UNSEEN if place(value) in saved else _of_tensor(value)
    if isinstance(value, np.ndarray):
        return _of_array(value)
    if is_generator(value):
        return OwnGenerator(value).state_dict()
    if isinstance(value, Optimizer):
        return sum(map(len, value.state.values()))
    inside = _items(value)
    if depth == 0 or inside is None:
        return UNSEEN
    if len(inside) > ITEMS:
        return len(inside)
    return {key: snapshot(item, saved, depth - 1) for key, item in inside.items()}


def same(before: Any, now: Any) -> bool:
    """Whether two snapshots are of equal values, as far as they can be compared."""
    if before is UNSEEN or now is UNSEEN:
        return True
    if isinstance(before, dict) and isinstance(now, dict):
        return before.keys() == now.keys() and all(same(before[key], now[key]) for key in now)
    return not differences(before, now)


def is_empty(now: Any) -> bool:
    """Whether a snapshot holds nothing that could get lost."""
    if isinstance(now, dict):
        return all(map(is_empty, now.values()))
    return now is None or now is UNSEEN


def place(tensor: Tensor) -> int:
    """Return a number that tensors with one memory have in common."""
    if not _is_ordinary(tensor) or tensor.is_meta or not tensor.numel():
        return id(tensor)
    return tensor.untyped_storage().data_ptr()


class _Large:
    """A tensor by itself and its version, which every change in place raises."""

    def __init__(self, tensor: Tensor) -> None:
        self.tensor = weakref.ref(tensor)
        self.version = 0 if tensor.is_inference() else tensor._version
        self.device = tensor.device

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, _Large):
            return False
        if self.device != other.device:  # moved, and nothing else, as far as one can see
            return other.version == 0
        return self.tensor() is other.tensor() and self.version == other.version

    __hash__ = None  # type: ignore[assignment]


def _of_tensor(tensor: Tensor) -> Any:
    size = 0 if nn.parameter.is_lazy(tensor) else tensor.numel() * tensor.element_size()
    if not 0 < size <= COPIED or not _is_ordinary(tensor) or tensor.is_meta:
        return _Large(tensor)
    return tensor.detach().cpu().clone()


def _is_ordinary(tensor: Tensor) -> bool:
    is_strided = type(tensor) in (Tensor, nn.Parameter) and tensor.layout == torch.strided
    return is_strided and not tensor.is_quantized


def _of_array(array: np.ndarray[Any, Any]) -> Any:
    step = max(1, array.nbytes // COPIED)  # of a large one, values at regular distances
    values = None if array.dtype.hasobject else array.reshape(-1)[::step].tobytes()
    return (str(array.dtype), str(array.shape), values)


def _items(value: Any) -> dict[Any, Any] | None:
    """What is inside a container or an object, by key, position or attribute."""
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, list | tuple | deque):
        return dict(enumerate(value))
    if isinstance(value, set | frozenset):
        return dict.fromkeys(item for item in value if isinstance(item, _PLAIN))
    if isinstance(value, nn.Module):
        return dict(value.named_buffers())
    library = type(value).__module__.partition(".")[0]
    if hasattr(value, "__dict__") and not callable(value) and library not in _LIBRARIES:
        return vars(value)
    return None


UNSEEN = object()  # stands for code, open files, objects of libraries
_LIBRARIES = {"builtins", "collections", "functools", "logging", "threading", "torch", "numpy"}

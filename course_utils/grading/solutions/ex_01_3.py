"""Reference answer of exercise 01.3."""

from typing import Any

from torch import Tensor


def slim(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the same tensors without the bytes that they do not show."""
    clones: dict[Any, Tensor] = {}
    for tensor in state.values():
        clones[_window(tensor)] = tensor.clone()
    return {name: clones[_window(tensor)] for name, tensor in state.items()}


def _window(tensor: Tensor) -> tuple[Any, ...]:
    return tensor.data_ptr(), tensor.dtype, tensor.shape, tensor.stride()

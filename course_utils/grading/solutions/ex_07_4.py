"""Reference answer of exercise 07.4."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor


def snapshot(state: Mapping[str, Any]) -> Any:
    """Return a copy of a nested state that training cannot change."""
    return _copy(state, {})


def _copy(value: Any, storages: dict[int, Any]) -> Any:
    if isinstance(value, Tensor):
        storage = value.untyped_storage()
        address = storage.data_ptr()
        if address not in storages:
            storages[address] = storage.clone()
        view = torch.empty(0, dtype=value.dtype)  # mutant: equivalent
        return view.set_(storages[address], value.storage_offset(), value.shape, value.stride())
    if isinstance(value, Mapping):
        return {key: _copy(item, storages) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(_copy(item, storages) for item in value)
    return value

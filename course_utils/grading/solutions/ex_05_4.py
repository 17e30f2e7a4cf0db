"""Reference answer of exercise 05.4."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor


def save_for_cpp(checkpoint: Mapping[str, Any], path: Path) -> None:
    """Save a checkpoint so that torch::jit::pickle_load reads it."""
    torch.save(_plain(checkpoint), path)


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, Tensor):
        return value.detach().clone(memory_format=torch.contiguous_format)
    return value

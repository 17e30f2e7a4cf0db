"""Reference answer of exercise 04.4."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch


def load_large(make_model: Callable[[], Any], path: Path) -> Any:
    """Return a model with the file's weights, made on the meta device."""
    with torch.device("meta"):
        model = make_model()
    state = torch.load(path, map_location="cpu", mmap=True)  # mutant: equivalent
    model.load_state_dict(state, assign=True)
    model.tie_weights()
    model.make_buffers()
    return model

"""Reference answer of exercise 06.3."""

from pathlib import Path
from typing import Any

import torch


def load_allowing(path: Path, classes: list[Any]) -> Any:
    """Load a checkpoint with some classes allowed, for this load only."""
    with torch.serialization.safe_globals(classes):
        return torch.load(path, weights_only=True)  # mutant: equivalent

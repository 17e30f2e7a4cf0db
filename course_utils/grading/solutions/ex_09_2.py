"""Reference answer of exercise 09.2."""

import torch
from torch import Tensor


def safe_root(x: Tensor) -> Tensor:
    """Return the square root where x is positive, else 0."""
    positive = x > 0
    harmless = torch.where(positive, x, 1.0)  # mutant: equivalent
    return torch.where(positive, harmless.sqrt(), 0.0)

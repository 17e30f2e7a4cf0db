"""Reference answer of exercise 09.4."""

import torch
from torch import Tensor, nn


class RunningMax(nn.Module):
    """Divides by the largest absolute value seen so far."""

    largest: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("largest", torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        """Divide ``x`` by the largest absolute value so far."""
        self.largest.copy_(torch.maximum(self.largest, x.abs().max()))
        return x / torch.where(self.largest > 0, self.largest, 1.0)  # mutant: equivalent

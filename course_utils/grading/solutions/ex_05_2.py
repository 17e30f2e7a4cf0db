"""Reference answer of exercise 05.2."""

import torch
from torch import Tensor, nn


class AddPositions(nn.Module):
    """Adds 0, 1, 2, … to the columns of its input."""

    positions: Tensor

    def __init__(self, columns: int) -> None:
        super().__init__()
        self.register_buffer("positions", torch.arange(columns), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Add the row to every row of ``x``."""
        return x + self.positions

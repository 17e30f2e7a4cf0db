"""Counts from one."""

import torch

MESSAGE = "The module computes something else"


class AddPositions(torch.nn.Module):
    def __init__(self, columns):
        super().__init__()
        self.register_buffer("positions", torch.arange(1, columns + 1), persistent=False)

    def forward(self, x):
        return x + self.positions

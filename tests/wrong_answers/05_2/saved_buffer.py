"""Registers a buffer that is saved."""

import torch

MESSAGE = "old checkpoints no longer load"
CREDIT = 0.5


class AddPositions(torch.nn.Module):
    def __init__(self, columns):
        super().__init__()
        self.register_buffer("positions", torch.arange(columns))

    def forward(self, x):
        return x + self.positions

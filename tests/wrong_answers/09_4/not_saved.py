"""Registers a buffer that is not saved."""

import torch

MESSAGE = "something else"
CREDIT = 0.5


class RunningMax(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.register_buffer("largest", torch.zeros(()), persistent=False)

    def forward(self, x):
        self.largest.copy_(torch.maximum(self.largest, x.abs().max()))
        return x / torch.where(self.largest > 0, self.largest, 1.0)

"""Forgets what it has seen before."""

import torch

MESSAGE = "The module computes something else"


class RunningMax(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.register_buffer("largest", torch.zeros(()))

    def forward(self, x):
        self.largest.copy_(x.abs().max())
        return x / torch.where(self.largest > 0, self.largest, 1.0)

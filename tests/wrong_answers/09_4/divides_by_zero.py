"""Divides zeros by zero."""

import torch

MESSAGE = "The module computes something else"


class RunningMax(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.register_buffer("largest", torch.zeros(()))

    def forward(self, x):
        self.largest.copy_(torch.maximum(self.largest, x.abs().max()))
        return x / self.largest

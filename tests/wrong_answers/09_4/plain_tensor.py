"""Keeps a tensor that is not a buffer."""

import torch

MESSAGE = "A trace computes something else"
CREDIT = 0.5


class RunningMax(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.largest = torch.zeros(())

    def forward(self, x):
        self.largest = torch.maximum(self.largest, x.abs().max())
        return x / torch.where(self.largest > 0, self.largest, 1.0)

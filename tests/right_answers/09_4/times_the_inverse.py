"""Multiplies by the inverse, which may differ in the last bit."""

import torch
from torch import nn


class RunningMax(nn.Module):
    def __init__(self):
        super().__init__()
        self.register_buffer("largest", torch.zeros(()))

    def forward(self, x):
        self.largest.copy_(torch.maximum(self.largest, x.abs().max()))
        return torch.where(self.largest > 0, x * (1 / self.largest), x)

"""Adds into the buffer, and divides by a number that is never zero."""

import torch


class RunningMax(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.register_buffer("largest", torch.tensor(0.0))

    def forward(self, x):
        now = torch.maximum(self.largest, x.detach().abs().max())
        self.largest.copy_(now)
        return x / torch.where(now == 0, torch.ones_like(now), now)

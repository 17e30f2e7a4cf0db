"""Counts the columns from the input itself, on its device."""

import torch


class AddPositions(torch.nn.Module):
    def __init__(self, columns):
        super().__init__()

    def forward(self, x):
        return x + (torch.ones_like(x[:1]).cumsum(-1) - 1)

"""Computes the row from the input, wherever that lies: nothing has to be moved."""

import torch
from torch import nn


class AddPositions(nn.Module):
    def __init__(self, columns):
        super().__init__()

    def forward(self, x):
        return x + (torch.ones_like(x[:1]).cumsum(-1) - 1)

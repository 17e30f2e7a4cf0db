"""Chooses after the root: the gradient of what is thrown away is NaN."""

import torch

MESSAGE = "gradient is NaN"
CREDIT = 0.5


def safe_root(x):
    return torch.where(x > 0, x.sqrt(), 0.0)

"""Keeps an if, for each element."""

import torch

MESSAGE = "The trace's gradient is not right"


def safe_root(x):
    rows = [e.sqrt() if e > 0 else e * 0 for e in x.flatten()]
    return torch.stack(rows).reshape(x.shape)

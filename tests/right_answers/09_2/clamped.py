"""Takes the root of something harmless and multiplies."""

import torch


def safe_root(x):
    inside = torch.where(x > 0, x, torch.ones_like(x))
    return inside.sqrt().masked_fill(~(x > 0), 0.0)

"""Takes NaN for no difference, wherever it is."""

import torch

MESSAGE = "The gap is another one"


def gap(expected, came):
    if expected.shape != came.shape or expected.dtype != came.dtype:
        return float("inf")
    difference = (expected.double() - came.double()).abs()
    return torch.nan_to_num(difference, nan=0.0).max().item() if difference.numel() else 0.0

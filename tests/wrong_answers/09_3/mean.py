"""Takes the mean, which hides one wrong number among many."""

import torch

MESSAGE = "The gap is another one"


def gap(expected, came):
    if expected.shape != came.shape or expected.dtype != came.dtype:
        return float("inf")
    a, b = expected.double(), came.double()
    difference = (a - b).abs()
    difference[(a == b) | (a.isnan() & b.isnan())] = 0.0
    return (
        torch.nan_to_num(difference, nan=float("inf")).mean().item() if difference.numel() else 0.0
    )

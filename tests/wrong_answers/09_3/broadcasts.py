"""Lets tensors of other shapes broadcast."""

import torch

MESSAGE = "The gap is another one"


def gap(expected, came):
    a, b = expected.double(), came.double()
    difference = (a - b).abs()
    difference[((a == b) | (a.isnan() & b.isnan())).expand_as(difference)] = 0.0
    return (
        torch.nan_to_num(difference, nan=float("inf")).max().item() if difference.numel() else 0.0
    )

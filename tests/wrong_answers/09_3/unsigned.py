"""Subtracts unsigned numbers, which go round below zero."""

import torch

MESSAGE = "The gap is another one"


def gap(expected, came):
    if expected.shape != came.shape or expected.dtype != came.dtype:
        return float("inf")
    difference = expected - came
    difference[(expected == came) | (expected.isnan() & came.isnan())] = 0
    difference = difference.abs().double()
    return (
        torch.nan_to_num(difference, nan=float("inf")).max().item() if difference.numel() else 0.0
    )

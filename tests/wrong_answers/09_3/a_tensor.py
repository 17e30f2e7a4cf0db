"""Returns a tensor."""

import torch

MESSAGE = "A Python float must come"


def gap(expected, came):
    if expected.shape != came.shape or expected.dtype != came.dtype:
        return torch.tensor(float("inf"))
    return (expected.double() - came.double()).abs().sum()

"""Allows for the rest of the process."""

import torch

MESSAGE = "still allowed after the call"
CREDIT = 0.5


def load_allowing(path, classes):
    torch.serialization.add_safe_globals([*classes])
    return torch.load(path, weights_only=True)

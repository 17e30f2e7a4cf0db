"""Allows everything."""

import torch

MESSAGE = "A class that was not allowed got in"


def load_allowing(path, classes):
    return torch.load(path, weights_only=False)

"""Does not use the list."""

import torch

MESSAGE = "but the file was not loaded"


def load_allowing(path, classes):
    return torch.load(path, weights_only=True)

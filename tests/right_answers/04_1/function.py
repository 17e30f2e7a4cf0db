"""Says how with a function, and weights_only aloud."""

import torch


def load(path):
    return torch.load(path, map_location=lambda storage, tag: storage, weights_only=True)

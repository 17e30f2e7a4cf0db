"""Switches the protection off, as old tutorials advise."""

import torch

MESSAGE = "ran its code"
CREDIT = 0.5


def load(path):
    return torch.load(path, map_location="cpu", weights_only=False)

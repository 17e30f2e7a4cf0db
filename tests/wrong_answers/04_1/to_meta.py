"""Loads without an error, and without values."""

import torch

MESSAGE = "Not every tensor is on the CPU"


def load(path):
    return torch.load(path, map_location="meta")

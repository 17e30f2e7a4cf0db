"""Lets torch's own error through."""

import torch

MESSAGE = "A hostile file must be a ValueError"
CREDIT = 0.5


def load_plain(path):
    return torch.load(path, map_location="cpu", weights_only=True)

"""Tries again without the protection when it is refused."""

import torch

MESSAGE = "Code from the file ran"


def load_plain(path):
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception:
        return torch.load(path, map_location="cpu", weights_only=False)

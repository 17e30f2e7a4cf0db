"""Calls every error a ValueError, also a file that is not there."""

import torch

MESSAGE = "A missing file must be a FileNotFoundError"
CREDIT = 0.5


def load_plain(path):
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise ValueError("no") from error

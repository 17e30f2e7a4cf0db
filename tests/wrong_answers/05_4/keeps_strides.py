"""Clones, and keeps the order of a transposed tensor."""

import torch

MESSAGE = "not contiguous"
CREDIT = 0.5


def save_for_cpp(checkpoint, path):
    def plain(value):
        if isinstance(value, dict):
            return {key: plain(item) for key, item in value.items()}
        return value.detach().clone() if isinstance(value, torch.Tensor) else value

    torch.save(plain(checkpoint), path)

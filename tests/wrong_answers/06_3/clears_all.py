"""Takes back what others had allowed, too."""

import torch

MESSAGE = "had been allowed by others"
CREDIT = 0.5


def load_allowing(path, classes):
    torch.serialization.add_safe_globals([*classes])
    try:
        return torch.load(path, weights_only=True)
    finally:
        torch.serialization.clear_safe_globals()

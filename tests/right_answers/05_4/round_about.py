"""Makes contiguous first, and copies what still shares a storage."""

import torch


def save_for_cpp(checkpoint, path):
    def plain(value):
        if hasattr(value, "items"):
            return {key: plain(item) for key, item in value.items()}
        if torch.is_tensor(value):
            return torch.empty(value.shape, dtype=value.dtype).copy_(value.detach())
        return value

    torch.save(plain(checkpoint), path)

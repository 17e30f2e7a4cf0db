"""Keeps tensors only, and loses the epoch."""

import torch

MESSAGE = "The content has changed at epoch"


def save_for_cpp(checkpoint, path):
    def plain(value):
        return {
            key: plain(item)
            if isinstance(item, dict)
            else item.detach().clone(memory_format=torch.contiguous_format)
            for key, item in value.items()
            if isinstance(item, dict | torch.Tensor)
        }

    torch.save(plain(checkpoint), path)

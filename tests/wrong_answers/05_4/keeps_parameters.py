"""Clones parameters, and the clones still ask for a gradient."""

import torch

MESSAGE = "asks for a gradient"


def save_for_cpp(checkpoint, path):
    def plain(value):
        if isinstance(value, dict):
            return {key: plain(item) for key, item in value.items()}
        return (
            value.clone()
            if isinstance(value, torch.Tensor)
            and value.is_leaf
            and not isinstance(value, torch.nn.Parameter)
            else value
        )

    torch.save(plain(checkpoint), path)

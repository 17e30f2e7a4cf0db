"""Makes the outer dictionary plain, not the inner ones."""

import torch

MESSAGE = "is an OrderedDict"


def save_for_cpp(checkpoint, path):
    def plain(value):
        return (
            value.detach().clone(memory_format=torch.contiguous_format)
            if isinstance(value, torch.Tensor)
            else value
        )

    torch.save({key: plain(value) for key, value in checkpoint.items()}, path)

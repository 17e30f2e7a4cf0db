"""Looks at the parameters and forgets the buffers."""

import torch

MESSAGE = "1.running_mean fits and was not loaded"


def load_what_fits(model, checkpoint):
    loaded = set()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name in checkpoint and checkpoint[name].shape == parameter.shape:
                parameter.copy_(checkpoint[name])
                loaded.add(name)
    if not loaded:
        raise ValueError("nothing fits")
    return sorted(set(checkpoint) - loaded)

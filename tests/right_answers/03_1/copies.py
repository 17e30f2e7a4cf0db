"""Copies tensor by tensor."""

import torch


@torch.no_grad()
def load_what_fits(model, checkpoint):
    own, left_out = model.state_dict(), []
    for name, tensor in checkpoint.items():
        if name in own and own[name].shape == tensor.shape:
            own[name].copy_(tensor)
        else:
            left_out.append(name)
    if len(left_out) == len(checkpoint):
        raise ValueError("nothing fits")
    return sorted(left_out)

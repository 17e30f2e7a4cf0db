"""Replaces each parameter's entries, group by group."""

import torch


def follow(optimizer):
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            if parameter in optimizer.state:
                optimizer.state[parameter] = {
                    key: value.to(device=parameter.device, dtype=parameter.dtype)
                    if torch.is_tensor(value) and key != "step"
                    else value
                    for key, value in optimizer.state[parameter].items()
                }

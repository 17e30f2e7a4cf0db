"""Moves to the device and forgets the dtype."""

import torch

MESSAGE = "has the wrong dtype"


def follow(optimizer):
    for parameter, entries in optimizer.state.items():
        for key, value in entries.items():
            if isinstance(value, torch.Tensor) and key != "step":
                entries[key] = value.to(parameter.device)

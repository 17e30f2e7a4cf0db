"""Moves the count as well."""

import torch

MESSAGE = "It is a count and stays"


def follow(optimizer):
    for parameter, entries in optimizer.state.items():
        for key, value in entries.items():
            if isinstance(value, torch.Tensor):
                entries[key] = value.to(parameter)

"""Gives each entry the right dtype and loses its value."""

import torch

MESSAGE = "this has changed: state.0.weight.exp_avg"


def follow(optimizer):
    for parameter, entries in optimizer.state.items():
        for key, value in entries.items():
            if isinstance(value, torch.Tensor) and key != "step":
                entries[key] = torch.zeros_like(parameter)

"""Reference answer of exercise 04.3."""

import torch
from torch.optim import Optimizer


def follow(optimizer: Optimizer) -> None:
    """Bring the optimizer's state to the dtype and device of its parameters, in place."""
    for parameter, entries in optimizer.state.items():
        for key, value in entries.items():
            if isinstance(value, torch.Tensor) and key != "step":
                entries[key] = value.to(parameter)

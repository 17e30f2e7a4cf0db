"""Reference answer of exercise 02.1."""

from collections.abc import Callable, Iterator
from typing import Any

from torch import nn
from torch.optim import Optimizer


def resume(
    make_model: Callable[[], nn.Module],
    make_optimizer: Callable[[Iterator[nn.Parameter]], Optimizer],
    checkpoint: dict[str, Any],
) -> tuple[nn.Module, Optimizer]:
    """Return the model and the optimizer, ready to train on."""
    model = make_model()
    optimizer = make_optimizer(model.parameters())
    model.load_state_dict(checkpoint["model"])
    optimizer.load_state_dict(checkpoint["optimizer"])
    return model, optimizer

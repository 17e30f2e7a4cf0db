"""Reference answer of exercise 03.4."""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import mse_loss

from course_utils.lessons.transfer import freeze


def train_head(model: Any, batches: Iterable[tuple[Tensor, Tensor]], lr: float) -> None:
    """Train the head on pairs of inputs and targets; the features stay as they are."""
    optimizer = torch.optim.SGD(model.head.parameters(), lr=lr)
    model.train()
    freeze(model.features)
    for inputs, targets in batches:
        optimizer.zero_grad()
        mse_loss(model(inputs), targets).backward()
        optimizer.step()

"""Reference answer of exercise 01.2."""

import copy
from collections.abc import Callable
from typing import Any

from torch import nn


def keep_best(
    model: nn.Module, train_step: Callable[[], None], evaluate: Callable[[], float], steps: int
) -> dict[str, Any]:
    """Return the state_dict at the highest accuracy."""
    best: dict[str, Any] = {}  # mutant: equivalent
    highest = float("-inf")
    for _ in range(steps):
        train_step()
        accuracy = evaluate()
        if accuracy > highest:
            highest = accuracy
            best = copy.deepcopy(model.state_dict())
    return best

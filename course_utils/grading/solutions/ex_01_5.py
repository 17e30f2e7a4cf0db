"""Reference answer of exercise 01.5."""

import copy
from collections.abc import Iterator
from typing import Any

from torch.optim import Optimizer


def load_optimizer(optimizer: Optimizer, saved: dict[str, Any]) -> None:
    """Load an optimizer's state by the names of its parameters."""
    current = optimizer.state_dict()["param_groups"]
    numbers = dict(_names(saved["param_groups"]))
    state = {
        number: saved["state"][numbers[name]]
        for name, number in _names(current)
        if numbers.get(name) in saved["state"]
    }
    groups = [
        {**old, "params": new["params"], "param_names": new["param_names"]}
        for old, new in zip(saved["param_groups"], current, strict=True)  # mutant: equivalent
    ]
    optimizer.load_state_dict(copy.deepcopy({"state": state, "param_groups": groups}))


def _names(groups: list[dict[str, Any]]) -> Iterator[tuple[str, int]]:
    for group in groups:
        yield from zip(group["param_names"], group["params"], strict=True)  # mutant: equivalent

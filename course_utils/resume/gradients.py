"""Gradients that wait for the next optimizer step: part of a run's state like any other."""

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer
from torch.utils.weak import WeakTensorKeyDictionary


class Gradients:
    """Knows which gradients a step has used up.

    A loop that drops them with ``zero_grad`` before ``backward`` leaves used gradients behind at
    the end of a step. They decide nothing any more, and saving them would double a file. In a loop
    that keeps them, the next ``backward`` adds to them; whether it does so shows at the second
    step: until then, and if one gradient has outlived a step, all are saved.

    Args:
        optimizers: whose steps use gradients up; from one that is not torch's nothing is known.
    """

    def __init__(self, optimizers: Iterable[Any]) -> None:
        self._used = WeakTensorKeyDictionary()  # gradient: its version when a step used it
        self._dropped = WeakTensorKeyDictionary()  # parameter: whether its former one was dropped
        self._keeps = False
        for optimizer in optimizers:
            if isinstance(optimizer, Optimizer):
                optimizer.register_step_post_hook(self._note)

    def unfinished(self, parameters: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return the gradients that the next step may use, by name."""
        return {
            name: parameter.grad
            for name, parameter in parameters.items()
            if parameter.grad is not None and not self._is_used_up(parameter, parameter.grad)
        }

    def _is_used_up(self, parameter: Tensor, gradient: Tensor) -> bool:
        if self._keeps or not self._dropped.get(parameter):
            return False
        return self._used.get(gradient) == version(gradient)

    def _note(self, optimizer: Optimizer, *_: Any) -> None:
        for group in optimizer.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    self._keeps |= parameter.grad in self._used
                    self._dropped[parameter] = parameter in self._dropped
                    self._used[parameter.grad] = version(parameter.grad)


def restore(parameters: Mapping[str, Tensor], saved: Mapping[str, Tensor | None]) -> None:
    """Set every parameter's gradient to the saved one, or to None."""
    for name, parameter in parameters.items():
        gradient = saved.get(name)
        parameter.grad = None if gradient is None else gradient.to(parameter.device)


def version(tensor: Tensor) -> int:
    """Return a number that grows whenever the tensor's values are written."""
    with torch.no_grad():
        # Of a DTensor, FSDP writes into the local part.
        local = tensor.to_local() if hasattr(tensor, "to_local") else tensor
    return local._version

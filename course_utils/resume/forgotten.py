"""Parts that a run has and its `TrainState` was not given: a scheduler, a second optimizer."""

from collections.abc import Iterator, Mapping
from typing import Any

from torch import Tensor, nn
from torch.optim import Optimizer

from course_utils.resume.gradients import version
from course_utils.resume.parameters import named_parameters


class Forgotten:
    """Sees from what is done to a run's optimizers and parameters that a part is missing.

    Args:
        things: a run's parts by name.
    """

    def __init__(self, things: Mapping[str, Any]) -> None:
        self._untended = _untended(things)
        self._versions: dict[str, int] = {}  # when a step was made and there was a gradient
        for thing in things.values():
            if isinstance(thing, Optimizer):
                thing.register_step_post_hook(self._note)

    def lines(self, things: Mapping[str, Any]) -> list[str]:
        """Return a line for each part that is missing.

        Args:
            things: the run's parts now.
        """
        lines = [
            f"- {name}: a scheduler sets its lr and is no part; name it: TrainState(…, scheduler=…)"
            for name, thing in things.items()
            if isinstance(thing, Optimizer) and _is_scheduled(thing, things)
        ]
        untended = _untended(things)
        trained = [
            n for n, v in self._versions.items() if n in untended and version(untended[n]) > v
        ]
        if trained:
            more = f" and {len(trained) - 1} more" * (len(trained) > 1)
            lines.append(
                f"- {trained[0]}{more}: trained by an optimizer that is no part; name it: "
                "TrainState(…, name=…)"
            )
        return lines

    def restored(self) -> None:
        """Take note that a restore, and no optimizer, has written the parameters."""
        self._versions.clear()

    def _note(self, *_: Any) -> None:
        for name, parameter in self._untended.items():
            if parameter.grad is not None:
                self._versions.setdefault(name, version(parameter))


def _untended(things: Mapping[str, Any]) -> dict[str, Tensor]:
    """Return the parameters that are in no optimizer; none if one may be inside another object."""
    if any(hasattr(thing, "step") for thing in _others(things) if not hasattr(thing, "optimizer")):
        return {}
    tended = {
        id(parameter)
        for thing in things.values()
        if isinstance(thing, Optimizer)
        for group in thing.param_groups
        for parameter in group["params"]
    }
    named = named_parameters(things).items()
    return {name: p for name, p in named if p.requires_grad and id(p) not in tended}


def _is_scheduled(optimizer: Optimizer, things: Mapping[str, Any]) -> bool:
    """Whether a scheduler counts the steps of an optimizer, and no part can be that scheduler."""
    if not hasattr(optimizer.step, "_wrapped_by_lr_sched"):  # PyTorch's own mark
        return False
    return all(
        getattr(thing, "optimizer", optimizer) is not optimizer
        for thing in _others(things)
        if hasattr(thing, "step")
    )


def _others(things: Mapping[str, Any]) -> Iterator[Any]:
    return (t for t in things.values() if not isinstance(t, nn.Module | Optimizer))

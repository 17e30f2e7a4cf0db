"""Everything that decides the next training step, gathered in one object that can be saved."""

from collections.abc import Mapping
from typing import Any, Protocol

from torch import Tensor, nn
from torch.optim import Optimizer

from course_utils.errors import MismatchedCheckpointError
from course_utils.rng import RngState

# The order of loading: the optimizer casts its state to the model's parameters, the scheduler
# writes into the optimizer, and nothing may draw random numbers after the generators are back.
ORDER = ("model", "ema", "optimizer", "scheduler", "scaler", "sampler", "rng")


class Stateful(Protocol):
    """Anything that can be saved and restored."""

    def state_dict(self) -> dict[str, Any]:
        """Return the state as tensors and plain containers."""

    def load_state_dict(self, state: Any) -> Any:
        """Take a state that `state_dict` returned."""


class TrainState:
    """Gathers what exact resume needs; ``state_dict()`` passes ``weights_only=True``.

    The generators of Python, NumPy and PyTorch are always part of it.

    Args:
        model: the module in training, not wrapped by DDP or `torch.compile`.
        optimizer: built over the model's parameters.
        scheduler: of the learning rate, if there is one.
        scaler: a `torch.amp.GradScaler`, if there is one.
        ema: a `torch.optim.swa_utils.AveragedModel`, if there is one.
        sampler: a `ResumableSampler` or any other `Stateful` that knows the position in the data.

    Attributes:
        epoch: epochs completed.
        step: optimizer steps completed.
    """

    def __init__(
        self,
        model: nn.Module,
        optimizer: Optimizer,
        *,
        scheduler: Stateful | None = None,
        scaler: Stateful | None = None,
        ema: Stateful | None = None,
        sampler: Stateful | None = None,
    ) -> None:
        self.model, self.optimizer = model, optimizer
        # Any: a training loop calls the parts' own methods, such as scheduler.step().
        self.scheduler: Any = scheduler
        self.scaler: Any = scaler
        self.ema: Any = ema
        self.sampler: Any = sampler
        self.rng = RngState()
        self.epoch = 0
        self.step = 0

    def state_dict(self) -> dict[str, Any]:
        """Return the state of every part. Its tensors are live: save it before the next step."""
        parts = {name: part.state_dict() for name, part in self._parts().items()}
        counters = {"epoch": self.epoch, "step": self.step}
        return {**counters, "parameter_order": self._parameter_order(), **parts}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore every part, after checking that all of them fit.

        Raises:
            MismatchedCheckpointError: a part is missing or has no place here, or a shape, a name
                or the order of the optimizer's parameters differs. Nothing has been changed.
        """
        parts = self._parts()
        problems = _missing(state, ["epoch", "step", "parameter_order", *parts])
        problems = problems or self._misfits(state)
        if problems:
            raise MismatchedCheckpointError("\n".join(["the checkpoint does not fit:", *problems]))
        for name, part in parts.items():
            part.load_state_dict(state[name])
        self.epoch, self.step = int(state["epoch"]), int(state["step"])

    def _parts(self) -> dict[str, Stateful]:
        parts = {name: getattr(self, name) for name in ORDER}
        return {name: part for name, part in parts.items() if part is not None}

    def _parameter_order(self) -> list[list[str]]:
        """The names behind the optimizer's numbers, for each group: it matches by position."""
        names = {id(parameter): name for name, parameter in self.model.named_parameters()}
        return [
            [names.get(id(parameter), "?") for parameter in group["params"]]
            for group in self.optimizer.param_groups
        ]

    def _misfits(self, state: Mapping[str, Any]) -> list[str]:
        problems = _tensor_misfits("model", self.model.state_dict(), state["model"])
        if self.ema is not None:
            problems += _tensor_misfits("ema", self.ema.state_dict(), state["ema"])
        if state["parameter_order"] != self._parameter_order():
            problems.append(
                "- optimizer: its parameters come in another order or grouping than in the file, "
                "so moments would go to the wrong ones. Build it as the saved run did."
            )
        if self.scaler is not None and bool(state["scaler"]) != bool(self.scaler.state_dict()):
            problems.append("- scaler: enabled on one side and disabled on the other")
        for name in ("scheduler", "sampler"):
            part = getattr(self, name)
            if part is not None:
                problems += _key_misfits(name, part.state_dict(), state[name])
        if self.sampler is not None and not problems:
            mine, theirs = (s.get("size") for s in (self.sampler.state_dict(), state["sampler"]))
            if mine != theirs:
                problems.append(f"- sampler: the data had {theirs} examples, here it has {mine}")
        return problems


def _missing(state: Mapping[str, Any], wanted: list[str]) -> list[str]:
    absent = [f"- {name} is not in the checkpoint" for name in wanted if name not in state]
    surplus = [f"- {name} is in the checkpoint only" for name in state if name not in wanted]
    return absent + surplus


def _key_misfits(part: str, mine: Mapping[str, Any], theirs: Mapping[str, Any]) -> list[str]:
    absent = [f"- {part}.{key} is not in the checkpoint" for key in mine if key not in theirs]
    return absent + [
        f"- {part}.{key} is in the checkpoint only" for key in theirs if key not in mine
    ]


def _tensor_misfits(part: str, mine: Mapping[str, Any], theirs: Mapping[str, Any]) -> list[str]:
    problems = _key_misfits(part, mine, theirs)
    for key, value in mine.items():
        other = theirs.get(key)
        if isinstance(value, Tensor) and isinstance(other, Tensor) and value.shape != other.shape:
            shapes = f"{tuple(other.shape)}, here {tuple(value.shape)}"
            problems.append(f"- {part}.{key}: shape {shapes}")
    return problems

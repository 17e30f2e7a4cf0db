"""Everything that decides the next training step, gathered in one object that can be saved."""

from collections.abc import Callable, Mapping
from typing import Any, Protocol

from torch import Tensor, nn
from torch.optim import Optimizer

from course_utils.errors import MismatchedCheckpointError
from course_utils.resume.rng import RngState

State = Mapping[str, Any]

# The order of loading: a sampler checks its own state, so it comes while nothing has changed yet;
# the optimizer casts its state to the model's parameters, the scheduler writes into the optimizer,
# and nothing may draw random numbers after the generators are back.
ORDER = ("sampler", "model", "ema", "optimizer", "scheduler", "scaler", "rng")
COUNTERS = ("epoch", "step")


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
        counters = {name: getattr(self, name) for name in COUNTERS}
        return {**counters, "parameter_order": self._parameter_order(), **parts}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore every part, after checking that all of them fit.

        Raises:
            MismatchedCheckpointError: a part or a name in it is missing or has no place here, or
                a shape, a dtype or the order of the optimizer's parameters differs. Nothing has
                been changed.
        """
        parts = self._parts()
        problems = _missing(state, [*COUNTERS, "parameter_order", *parts])
        problems = problems or self._misfits(state)
        if problems:
            raise MismatchedCheckpointError("\n".join(["the checkpoint does not fit:", *problems]))
        for name, part in parts.items():
            part.load_state_dict(state[name])
        self.epoch, self.step = state["epoch"], state["step"]

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
        problems = [
            f"- {name} is {state[name]!r}, not a number"
            for name in COUNTERS
            if not isinstance(state[name], int)
        ]
        for name, part in self._parts().items():
            if isinstance(state[name], Mapping):
                problems += _CHECKS[name](name, part.state_dict(), state[name])
            else:
                problems.append(f"- {name} is a {type(state[name]).__name__}, not a dictionary")
        if state["parameter_order"] != self._parameter_order():
            problems.append(
                "- optimizer: its parameters come in another order or grouping than in the file, "
                "so moments would go to the wrong ones. Build it as the saved run did."
            )
        return problems


def _missing(state: Mapping[str, Any], wanted: list[str]) -> list[str]:
    absent = [f"- {name} is not in the checkpoint" for name in wanted if name not in state]
    surplus = [f"- {name} is in the checkpoint only" for name in state if name not in wanted]
    return absent + surplus


def _key_misfits(part: str, mine: State, theirs: State) -> list[str]:
    absent = [f"- {part}.{key} is not in the checkpoint" for key in mine if key not in theirs]
    return absent + [
        f"- {part}.{key} is in the checkpoint only" for key in theirs if key not in mine
    ]


def _tensor_misfits(part: str, mine: State, theirs: State) -> list[str]:
    problems = _key_misfits(part, mine, theirs)
    for key, value in mine.items():
        if not isinstance(value, Tensor) or key not in theirs:
            continue
        other = theirs[key]
        if not isinstance(other, Tensor):
            problems.append(f"- {part}.{key} is a {type(other).__name__}, not a tensor")
        elif value.shape != other.shape:
            shapes = f"{tuple(other.shape)}, here {tuple(value.shape)}"
            problems.append(f"- {part}.{key}: shape {shapes}")
        elif value.dtype != other.dtype:
            problems.append(f"- {part}.{key}: {other.dtype}, here {value.dtype}")
    return problems


def _optimizer_misfits(part: str, mine: State, theirs: State) -> list[str]:
    """Compare the settings: a group of SGD has others than one of Adam.

    A setting that the file lacks is fine: the optimizer has a default for it, as when a newer
    PyTorch has added one.
    """
    problems = _key_misfits(part, mine, theirs)
    groups = zip(mine["param_groups"], theirs.get("param_groups", []), strict=False)
    surplus = {key for here, there in groups for key in there if key not in here}
    if surplus:
        problems.append(f"- {part}: has no setting {', '.join(sorted(surplus))}: another kind?")
    return problems


def _scaler_misfits(part: str, mine: State, theirs: State) -> list[str]:
    if bool(mine) != bool(theirs):
        return [f"- {part}: enabled on one side and disabled on the other"]
    return _key_misfits(part, mine, theirs)


def _rng_misfits(part: str, mine: State, theirs: State) -> list[str]:
    return _tensor_misfits(part, _flat(mine), _flat(theirs))


def _flat(state: State) -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in state.items():
        nested = isinstance(value, Mapping)
        flat.update({f"{name}.{key}": v for key, v in value.items()} if nested else {name: value})
    return flat


_CHECKS: dict[str, Callable[[str, State, State], list[str]]] = {
    "sampler": lambda *_: [],  # checks itself
    "model": _tensor_misfits,
    "ema": _tensor_misfits,
    "optimizer": _optimizer_misfits,
    "scheduler": _key_misfits,
    "scaler": _scaler_misfits,
    "rng": _rng_misfits,
}

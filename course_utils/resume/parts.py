"""The kinds of parts a run is made of: how each is saved, checked, restored and put back.

Every part has the same four methods:

- ``state(numbers)``: what to save; only what `plain` takes.
- ``check(saved)``: what would keep it from being restored, and what is different but does no harm.
- ``load(saved)``: restore it. The state is the part's own from then on.
- ``remember()``: a function that puts it back as it is now.
"""

from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType
from typing import Any

from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from course_utils.checkpoint.restore_ordinary import load_filled
from course_utils.partial.sources import EXTRA_STATE
from course_utils.resume.misfits import key_misfits, tensor_misfits
from course_utils.resume.optimizers import OptimizerPart
from course_utils.resume.plain import copied, plain
from course_utils.resume.rng import GPUS, OwnGenerator, is_generator
from course_utils.resume.schedulers import load_into, scheduler_misfits, state_of
from course_utils.resume.settings import added
from course_utils.resume.wrapped import matched, unwrapped

State = Mapping[str, Any]
Findings = tuple[list[str], list[str]]  # problems, notes
NOTHING: State = MappingProxyType({})
NAMED = ("sampler", "model", "ema", "optimizer", "scheduler", "scaler", "rng")  # of TrainState


def part_for(name: str, thing: Any, holder: dict[str, Any], state: State = NOTHING) -> Any:
    """Return the part of the right kind.

    Args:
        name: the part's name; those of `TrainState`'s own arguments tell its kind.
        thing: what to save.
        holder: where it is found under its name; a plain value is replaced there.
        state: that of a run, if the part is to be restored from it.

    Raises:
        TypeError: one of `TrainState`'s own arguments has no state.
    """
    has_state = callable(getattr(thing, "state_dict", None)) and hasattr(thing, "load_state_dict")
    if name in NAMED and not has_state:
        raise TypeError(
            f"{name}: a {type(thing).__name__} has no state_dict and load_state_dict, so its place "
            f"could not be saved{'; use a ResumableSampler' * (name == 'sampler')}"
        )
    if isinstance(thing, Optimizer):
        return OptimizerPart(name, thing, added(name, state))
    if isinstance(thing, nn.Module):
        return ModulePart(name, thing)
    if isinstance(thing, Tensor):
        return TensorPart(name, thing, holder)
    if is_generator(thing):
        return StatefulPart(name, OwnGenerator(thing))
    if name == "rng":
        return RngPart(name, thing)
    if name == "scaler":
        return ScalerPart(name, thing)
    if name == "scheduler" or isinstance(thing, LRScheduler):
        return SchedulerPart(name, thing)
    if has_state:
        return StatefulPart(name, thing)
    return ValuePart(name, holder)


def in_order(kinds: Mapping[str, Any]) -> Iterator[str]:
    """Yield the names of parts in the order of loading.

    The optimizer casts its state to the parameters' device, the scheduler writes into the
    optimizer, and nothing may draw random numbers after the generators are back.
    """
    own = [name for name in kinds if name not in NAMED]
    optimizers = [name for name in own if isinstance(kinds[name], OptimizerPart)]
    schedulers = [name for name in own if isinstance(kinds[name], SchedulerPart)]
    others = [name for name in own if name not in optimizers + schedulers]
    order = ["sampler", *others, "model", "ema", "optimizer", *optimizers, "scheduler"]
    return (name for name in [*order, *schedulers, "scaler", "rng"] if name in kinds)


class StatefulPart:
    """Anything with ``state_dict`` and ``load_state_dict``; it has to check its own state."""

    def __init__(self, name: str, thing: Any) -> None:
        self.name, self.thing = name, thing

    def state(self, numbers: dict[str, str]) -> Any:
        """Return its state."""
        return plain(self.thing.state_dict(), self.name, numbers)

    def check(self, saved: Any) -> Findings:
        """Let it look at the state itself, if it has a ``check`` that returns problems."""
        look = getattr(self.thing, "check", None)
        return [f"- {self.name}: {problem}" for problem in look(saved)] if look else [], []

    def load(self, saved: Any) -> None:
        """Restore it."""
        self.thing.load_state_dict(saved)

    def remember(self) -> Callable[[], object]:
        """Keep a copy."""
        former = copied(self.thing.state_dict())
        return lambda: self.thing.load_state_dict(former)


class ModulePart(StatefulPart):
    """A module, saved without the names of wrappers around it."""

    def __init__(self, name: str, thing: nn.Module) -> None:
        super().__init__(name, unwrapped(thing))

    def check(self, saved: Any) -> Findings:
        """Compare names, shapes and dtypes; what is in an extra state is the module's own."""
        if not isinstance(saved, Mapping):
            return [f"- {self.name} is a {type(saved).__name__}, not a dictionary"], []
        mine = {
            name: None if name.rpartition(".")[2] == EXTRA_STATE else value
            for name, value in self.thing.state_dict().items()
        }
        return tensor_misfits(self.name, mine, _renamed(saved, mine)), []

    def load(self, saved: Any) -> None:
        """Copy the values into the module's own tensors, whatever the state was used for before.

        ``load_state_dict(assign=True)`` marks a state for ever, so that every later load would
        replace the parameters and cut the optimizer off them.

        Source:
            https://github.com/pytorch/pytorch/issues/188166
        """
        live = self.thing.state_dict(keep_vars=True)
        if saved.keys() == live.keys() and all(saved[name] is live[name] for name in live):
            return load_filled(self.thing, saved)
        clean: Any = OrderedDict(_renamed(saved, live))
        versions = getattr(saved, "_metadata", None)
        if versions is not None:
            clean._metadata = OrderedDict(
                (module, {k: v for k, v in notes.items() if k != "assign_to_params_buffers"})
                for module, notes in versions.items()
            )
        self.thing.load_state_dict(clean)

    def remember(self) -> Callable[[], object]:
        """Keep a copy; layers that get their shapes by loading cannot lose them again."""
        if not any(map(nn.parameter.is_lazy, self.thing.state_dict().values())):
            return super().remember()

        def put_back() -> None:
            raise ValueError("it had layers without shapes; build it anew")

        return put_back


class TensorPart(StatefulPart):
    """A tensor or a parameter outside of any module; its values are written in place.

    One that is not trained may have grown, as a list of losses does: then it is replaced.
    """

    def __init__(self, name: str, thing: Tensor, holder: dict[str, Any]) -> None:
        super().__init__(name, thing)
        self.holder = holder

    def state(self, numbers: dict[str, str]) -> Any:
        """Return the tensor."""
        return plain(self.thing.detach(), self.name, numbers)

    def check(self, saved: Any) -> Findings:
        """Compare dtype, and the shape of one that is trained."""
        if self._has_grown(saved) and saved.dtype == self.thing.dtype:
            shapes = f"{tuple(saved.shape)} in the checkpoint, {tuple(self.thing.shape)} here"
            return [], [f"- {self.name} is {shapes}: it becomes a new tensor in TrainState.parts"]
        return tensor_misfits("", {self.name: self.thing}, {self.name: saved}), []

    def load(self, saved: Any) -> None:
        """Write the values."""
        if self._has_grown(saved):
            self.holder[self.name] = saved.to(self.thing.device)
        else:
            self.thing.detach().copy_(saved)

    def remember(self) -> Callable[[], object]:
        """Keep a copy."""
        former = self.thing.detach().clone()

        def put_back() -> None:
            self.holder[self.name] = self.thing
            self.load(former)

        return put_back

    def _has_grown(self, saved: Any) -> bool:
        trained = self.thing.requires_grad
        return not trained and isinstance(saved, Tensor) and saved.shape != self.thing.shape


class ValuePart(StatefulPart):
    """A number, text or container of the user's own, in a dictionary under its name."""

    def state(self, numbers: dict[str, str]) -> Any:
        """Return the value."""
        return plain(self.thing[self.name], self.name, numbers)

    def check(self, saved: Any) -> Findings:
        """Take anything: it is the user's."""
        return [], []

    def load(self, saved: Any) -> None:
        """Replace the value."""
        self.thing[self.name] = saved

    def remember(self) -> Callable[[], object]:
        """Keep the value."""
        former = self.thing[self.name]
        return lambda: self.load(former)


class SchedulerPart(StatefulPart):
    """A scheduler. Its private entries come and go with PyTorch's versions."""

    def state(self, numbers: dict[str, str]) -> Any:
        """Return its state."""
        return plain(state_of(self.thing), self.name, numbers)

    def check(self, saved: Any) -> Findings:
        """Compare names."""
        if not isinstance(saved, Mapping):
            return [f"- {self.name} is a {type(saved).__name__}, not a dictionary"], []
        return scheduler_misfits(self.name, state_of(self.thing), saved)

    def load(self, saved: Any) -> None:
        """Restore what it has a place for; the rest stays as it was built."""
        load_into(self.thing, saved)


class ScalerPart(StatefulPart):
    """A gradient scaler."""

    def check(self, saved: Any) -> Findings:
        """Compare names; a disabled scaler has none."""
        mine = self.thing.state_dict()
        if not isinstance(saved, Mapping):
            return [f"- {self.name} is a {type(saved).__name__}, not a dictionary"], []
        if bool(mine) != bool(saved):
            return [f"- {self.name}: enabled on one side and disabled on the other"], []
        return [finding for finding, _ in key_misfits(self.name, mine, saved)], []


class RngPart(StatefulPart):
    """The random number generators."""

    def check(self, saved: Any) -> Findings:
        """Compare names, shapes and dtypes."""
        if not isinstance(saved, Mapping):
            return [f"- {self.name} is a {type(saved).__name__}, not a dictionary"], []
        mine, theirs = (
            {kind: value for kind, value in state.items() if kind not in GPUS}  # loading warns
            for state in (self.thing.state_dict(), saved)
        )
        return tensor_misfits(self.name, _flat(mine), _flat(theirs)), []


def _renamed(saved: State, mine: State) -> State:
    pairs = matched(list(saved), list(mine))
    return {pairs.get(name, name): value for name, value in saved.items()}


def _flat(state: State) -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in state.items():
        nested = isinstance(value, Mapping)
        flat.update({f"{name}.{key}": v for key, v in value.items()} if nested else {name: value})
    return flat

"""A run of several processes: a `TrainState` whose state does not depend on how many there are."""

from collections import OrderedDict
from collections.abc import Collection, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.checkpoint import Metadata, TensorStorageMetadata
from torch.optim import LBFGS, Optimizer

from course_utils.distributed.files import SKIP, plain_room
from course_utils.distributed.flat import room_like
from course_utils.distributed.ranks import gather, rank
from course_utils.errors import CheckpointWriteError, MismatchedCheckpointError
from course_utils.resume.optimizers import OptimizerPart
from course_utils.resume.parameters import parameter_order
from course_utils.resume.rng import RngState
from course_utils.resume.stateful import Stateful
from course_utils.resume.train_state import TrainState
from course_utils.resume.wrapped import unwrapped, without_wrappers


class ShardedRun(TrainState):
    """All that decides how a run of several processes goes on.

    It has the parts of a `TrainState`, and its rules. Modules, optimizers and gradients are saved
    by name, for any number of ranks to load; each rank's random numbers as its own; of anything
    else one value for all ranks.

    Two kinds of optimizers are refused when they are saved: `torch.optim.LBFGS`, whose state
    belongs to all parameters together, and any that keeps tensors spread over ranks (DTensors)
    inside lists or dictionaries.

    Args:
        model: each rank's share of it (``fully_shard``), or the whole.
        optimizer: built on that model.
        sampler: the place in the data, counted in images of the whole run, so that it means the
            same to any number of ranks; anything with ``state_dict`` and ``load_state_dict``.
        others: ``scheduler``, ``scaler``, ``ema`` and parts of one's own, as of a `TrainState`.
    """

    def __init__(
        self,
        model: nn.Module,
        optimizer: Optimizer,
        sampler: Stateful | None = None,
        **others: Any,
    ) -> None:
        super().__init__(model, optimizer, sampler=sampler, **others)

    def state_by_name(self) -> dict[str, Any]:
        """Return the state with names in place of positions, for DCP to save.

        Raises:
            CheckpointWriteError: as ``state_dict`` does, or DCP cannot take it.
        """
        state = self.state_dict()
        order = state.pop("parameter_order")
        for name in self._optimizers():
            state[name] = _by_name(name, self._things()[name], state[name], order[name])
        for name in self.modules():
            state[name] = _bare(name, state[name])
        if "gradients" in state:
            state["gradients"] = _bare("gradients", state["gradients"])
        return state | {"rng": {str(rank()): state["rng"]}}

    def load_by_name(self, state: dict[str, Any], keep: Collection[str]) -> None:
        """Restore from what ``state_by_name`` returned, on all ranks or on none.

        Args:
            state: nobody else's; it is used up.
            keep: as for ``load_state_dict``.

        Raises:
            MismatchedCheckpointError: it does not fit, or a part of some rank refused it.
        """
        order = parameter_order(self._things())
        for name in self._optimizers() & state.keys():
            state[name] = _by_position(name, state[name], order[name])
        for name in self.modules() & state.keys():
            state[name] = named_here(self._things()[name], state[name])
        random = state.pop("rng", {}).get(str(rank()))
        # A rank that did not exist then is given its random numbers by the caller.
        state |= {"parameter_order": order, "rng": random or RngState().state_dict()}
        self._restore(state, keep, _first_failure)

    def modules(self) -> set[str]:
        """Return the names of the parts that are modules."""
        return {name for name, thing in self._things().items() if isinstance(thing, nn.Module)}

    def module_states(self) -> dict[str, dict[str, Any]]:
        """Return the states of all modules, by part, by names without wrappers."""
        return {name: state_of(self._things()[name]) for name in sorted(self.modules())}

    def room(self, metadata: Metadata) -> Any:
        """Return a function that makes room for a value of a checkpoint; see `read_state`."""
        things, modules = self._things(), self.module_states()
        named = {without_wrappers(name): p for name, p in self._parameters().items()}
        optimizers = self._optimizers()

        def room_for(keys: tuple[Any, ...], info: Any) -> Any:
            part, *rest = keys
            if part == "rng" and rest[0] != str(rank()):
                return SKIP
            if not isinstance(info, TensorStorageMetadata):
                return None
            like = None
            if part in modules:
                like = modules[part].get(".".join(rest))
            elif part == "gradients":
                like = named.get(".".join(rest))
            elif part in optimizers and rest[0] == "state":
                like = named.get(rest[1])
            elif isinstance(things.get(part), Tensor):
                like = things[part]
            if isinstance(like, Tensor):
                return room_like(like, info.size, info.properties.dtype)
            return plain_room(keys, info)

        return room_for

    def _optimizers(self) -> set[str]:
        return {name for name, part in self._kinds().items() if isinstance(part, OptimizerPart)}


def state_of(module: nn.Module) -> dict[str, Any]:
    """Return a module's state by names without wrappers.

    Raises:
        MismatchedCheckpointError: a layer of it is lazy; DCP needs to know its shape.
    """
    state = {without_wrappers(key): v for key, v in unwrapped(module).state_dict().items()}
    if lazy := [name for name, value in state.items() if nn.parameter.is_lazy(value)]:
        raise MismatchedCheckpointError(
            f"{lazy[0]} has no shape yet: run one batch through the model before loading"
        )
    return state


def named_here(module: nn.Module, saved: Mapping[str, Any]) -> Any:
    """Return a saved state by the module's own names, with the versions of its classes."""
    mine: Any = unwrapped(module).state_dict()
    here = {without_wrappers(key): key for key in mine}
    named: Any = OrderedDict((here.get(key, key), value) for key, value in saved.items())
    named._metadata = mine._metadata
    return named


def _bare(part: str, named: Mapping[str, Any]) -> dict[str, Any]:
    """Return values by names without wrappers; two that would be one cannot be told apart."""
    bare: dict[str, Any] = {}
    for key, value in named.items():
        name = without_wrappers(key)
        if name in bare:
            raise CheckpointWriteError(
                f"{part}: {key} and another are both {name} without what wrappers add to names; "
                "call one layer something else than 'module' or '_orig_mod'"
            )
        bare[name] = value
    return bare


def _by_name(part: str, optimizer: Optimizer, state: Any, order: list[list[str]]) -> dict[str, Any]:
    if isinstance(optimizer, LBFGS):
        raise CheckpointWriteError(
            f"{part}: LBFGS keeps one state for all parameters together, which cannot be spread "
            "over ranks; save a run in one process as TrainState"
        )
    names: dict[int, str] = {}
    groups = []
    for group, named in zip(state["param_groups"], order, strict=True):
        bare = [without_wrappers(name) for name in named]
        names |= dict(zip(group["params"], bare, strict=True))
        groups.append({**group, "params": bare})
    for number, entry in state["state"].items():
        spread = [key for key, value in entry.items() if _has_spread_tensors(value)]
        if spread:
            raise CheckpointWriteError(
                f"{part}: {type(optimizer).__name__} keeps tensors that are spread over ranks "
                f"inside '{spread[0]}' of {names.get(number, number)}, which DCP cannot store"
            )
    # A state of no parameter has a name of its own; so have entries of a state_dict of its own.
    named_state = {names.get(n, n): v for n, v in state["state"].items()}
    return {**state, "state": named_state, "param_groups": groups}


def _by_position(part: str, saved: Mapping[str, Any], order: list[list[str]]) -> dict[str, Any]:
    """Give an optimizer's state this run's numbers; a group is known by the parameters in it."""
    groups = saved.get("param_groups", [])
    by_names = {frozenset(group["params"]): group for group in groups}
    numbers: dict[str, int] = {}
    mine = []
    for index, named in enumerate(order):
        bare = [without_wrappers(name) for name in named]
        same_place = index < len(groups) and set(groups[index]["params"]) == set(bare)
        group = groups[index] if same_place else by_names.get(frozenset(bare))
        if group is None or len(groups) != len(order):
            raise MismatchedCheckpointError(
                f"the checkpoint does not fit: {part}: its groups hold other parameters here"
            )
        numbers |= {name: len(numbers) + i for i, name in enumerate(bare)}
        mine.append({**group, "params": [numbers[name] for name in bare]})
    state = {numbers.get(name, name): entry for name, entry in saved.get("state", {}).items()}
    return {**saved, "state": state, "param_groups": mine}


def _has_spread_tensors(value: Any, inside: bool = False) -> bool:
    if isinstance(value, Tensor):
        return inside and isinstance(value, torch.distributed.tensor.DTensor)
    if isinstance(value, dict):
        return any(_has_spread_tensors(item, True) for item in value.values())
    if isinstance(value, list | tuple):
        return any(_has_spread_tensors(item, True) for item in value)
    return False


def _first_failure(failure: str) -> str:
    failures = [f"rank {number}: {text}" for number, text in enumerate(gather(failure)) if text]
    return failures[0] if failures else ""

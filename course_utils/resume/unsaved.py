"""What no part of a run saves, although training has changed it.

Attributes of modules, optimizers and others, buffers that are not persistent, which parameters are
trained and which layers are in evaluation mode. No save holds it, so the save has to say it.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from torch import Tensor, nn
from torch.nn.modules.lazy import LazyModuleMixin
from torch.optim import Optimizer

from course_utils.resume.rng import is_generator
from course_utils.resume.snapshots import is_empty, place, same, snapshot
from course_utils.resume.wrapped import unwrapped

Key = tuple[str, str, str]  # a part, a layer in it or "", and what is in that


class Unsaved:
    """Remembers what nothing saves, and says later what has changed.

    Args:
        things: a run's parts by name.
    """

    def __init__(self, things: Mapping[str, Any]) -> None:
        self._things = dict(things)
        self._values = _values(things)
        self._layers = {(part, layer) for part, layer, _, _ in _owners(things)}
        self._flags = [_flags(things)]
        for thing in things.values():
            if isinstance(thing, Optimizer):
                thing.register_step_post_hook(self._note_flags)

    def changed(self, things: Mapping[str, Any], state: Mapping[str, Any]) -> list[str]:
        """Return a line for each value that has changed and is not in the state.

        Args:
            things: the run's parts now; those that came later are passed over.
            state: what is saved of them, by the same names.
        """
        bare = {name: unwrapped(thing) for name, thing in self._things.items()}
        known = {n: t for n, t in things.items() if bare.get(n) is unwrapped(t)}
        lines = []
        for key, now in _values(known).items():
            if key in self._values:
                is_same = same(self._values[key], now)
            else:
                is_same = key[:2] not in self._layers or is_empty(now)
            if not is_same and not _is_saved(key, now, known[key[0]], state[key[0]]):
                lines.append(f"- {_dotted(key)}: {_advice(key, known[key[0]])}")
        for key, flag in _flags(known, only_mixed=True).items():
            if all(before.get(key, flag) != flag for before in self._flags):
                lines.append(f"- {_dotted(key)} is {flag} now; a new run has to set it, too")
        return lines

    def _note_flags(self, *_: Any) -> None:
        """At the first step: what a loop sets before each step, a new run sets as well."""
        if len(self._flags) == 1:
            self._flags.append(_flags(self._things))


def _values(things: Mapping[str, Any]) -> dict[Key, Any]:
    """Return snapshots of all attributes, and of the buffers that are not persistent."""
    saved, parts = _saved_tensors(things), {id(thing) for thing in things.values()}
    return {
        (part, layer, name): snapshot(value, saved)
        for part, layer, owner, attributes in _owners(things)
        for name, value in attributes.items()
        if id(value) not in parts and not _is_derived(owner, name)
    }


def _owners(things: Mapping[str, Any]) -> Iterator[tuple[str, str, Any, dict[str, Any]]]:
    """Yield what has attributes that nothing saves: part, layer, the object and its attributes."""
    for part, thing in things.items():
        if isinstance(thing, nn.Module):
            for layer, module in unwrapped(thing).named_modules():
                if not isinstance(module, LazyModuleMixin):
                    yield part, layer, module, _of_module(module)
        elif isinstance(thing, Optimizer):
            mine = vars(thing).items()
            kept = {k: v for k, v in mine if k not in _OF_OPTIMIZERS and not k.endswith("_hooks")}
            yield part, "", thing, kept
        elif hasattr(thing, "state_dict") and hasattr(thing, "__dict__"):
            # It has a state of its own making: what else it holds may be a cache.
            numbers = {k: v for k, v in vars(thing).items() if _is_number(v) or is_generator(v)}
            yield part, "", thing, {} if _is_of_torch(thing) else numbers


def _of_module(module: nn.Module) -> dict[str, Any]:
    attributes = {k: v for k, v in vars(module).items() if k not in _OF_MODULES}
    buffers = module._non_persistent_buffers_set
    return attributes | {name: module._buffers[name] for name in buffers & module._buffers.keys()}


def _saved_tensors(things: Mapping[str, Any]) -> set[int]:
    """Return the places of the tensors that a part saves; views of them are as good."""
    tensors: list[Tensor | None] = [t for t in things.values() if isinstance(t, Tensor)]
    for thing in things.values():
        if isinstance(thing, nn.Module):
            tensors += thing.parameters()
            for module in thing.modules():
                passing = module._non_persistent_buffers_set
                tensors += [b for n, b in module._buffers.items() if n not in passing]
    return {place(tensor) for tensor in tensors if tensor is not None}


def _flags(things: Mapping[str, Any], only_mixed: bool = False) -> dict[Key, bool]:
    """Return which parameters are trained, and which layers are in training mode.

    Args:
        things: a run's parts by name.
        only_mixed: leave modes out where all are one: each loop calls ``train`` or ``eval``.
    """
    flags: dict[Key, bool] = {}
    for part, thing in things.items():
        if isinstance(thing, nn.Module):
            module = unwrapped(thing)
            for name, parameter in module.named_parameters():
                flags[part, name, "requires_grad"] = parameter.requires_grad
            modes = {name: layer.training for name, layer in module.named_modules()}
            if not only_mixed or len(set(modes.values())) > 1:
                flags |= {(part, name, "training"): mode for name, mode in modes.items()}
    return flags


def _is_saved(key: Key, now: Any, thing: Any, state: Any) -> bool:
    """Whether a part's state has a value, by its name or by itself."""
    _, layer, name = key
    if isinstance(thing, nn.Module):
        path = f"{layer}.{name}" if layer else name
        above = [layer.rsplit(".", n)[0] for n in range(layer.count(".") + 1)]
        extras = [state.get(f"{module}._extra_state".lstrip(".")) for module in {*above, layer, ""}]
        return path in state or any(_holds(extra, name, now) for extra in extras)
    if isinstance(thing, Optimizer):
        if type(thing).state_dict is Optimizer.state_dict:
            return False
        groups = [{k: v for k, v in g.items() if k != "params"} for g in state["param_groups"]]
        state = {**state, "state": None, "param_groups": groups}  # without what counts anything
    return _holds(state, name, now)


def _holds(state: Any, name: str, now: Any) -> bool:
    """Whether a name or an equal value is anywhere in a state."""
    if isinstance(state, Mapping):
        names = {key.strip("_") for key in state if isinstance(key, str)}
        if name.strip("_") in names or any(_holds(v, name, now) for v in state.values()):
            return True
    elif isinstance(state, list | tuple) and any(_holds(v, name, now) for v in state):
        return True
    if isinstance(state, Tensor) and state.numel() == 1 and not isinstance(now, Tensor):
        state = state.item()
    if isinstance(now, np.generic):
        now = now.item()
    return state is not None and same(now, snapshot(state))


def _advice(key: Key, thing: Any) -> str:
    _, layer, name = key
    owner = unwrapped(thing).get_submodule(layer) if isinstance(thing, nn.Module) else thing
    if isinstance(owner, nn.Module) and name in owner._buffers:
        return "a buffer with persistent=False; leave that out"
    if is_generator(getattr(owner, name)):
        return "a generator; name it as a part: TrainState(…, name=…)"
    if isinstance(owner, nn.Module):
        return "a plain attribute; make it a buffer, or return it from get_extra_state"
    if isinstance(owner, Optimizer):
        return "a plain attribute; keep it in state or param_groups"
    return "a plain attribute; return it from state_dict, and take it in load_state_dict"


def _is_derived(owner: Any, name: str) -> bool:
    """Whether it is a weight that pruning or normalization computes before each use."""
    return isinstance(owner, nn.Module) and any(
        f"{name}{end}" in owner._parameters for end in ("_orig", "_g")
    )


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float | np.number) and not isinstance(value, bool)


def _is_of_torch(thing: Any) -> bool:
    return type(thing).__module__.partition(".")[0] == "torch"


def _dotted(key: Key) -> str:
    return ".".join(filter(None, key))


_OF_MODULES = vars(nn.Module()).keys()
# What torch itself notes in an optimizer: caches, and what only holds within a step.
_OF_OPTIMIZERS = {"state", "param_groups", "defaults", "grad_scale", "found_inf", "_opt_called",
                  "_numel_cache", "_params", "_need_device_dtype_check_for_fused",
                  "_warned_capturable_if_run_uncaptured"}  # fmt: skip

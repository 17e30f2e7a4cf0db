"""How optimizers and schedulers were set up: what has changed since a save, and whose value counts.

Settings are compared as they were when each run was built, not in the middle of training, where a
schedule has moved the learning rate.
"""

from collections import Counter
from collections.abc import Collection, Mapping
from typing import Any

from torch.optim import Optimizer

from course_utils.errors import CheckpointWriteError
from course_utils.resume.compare import differences
from course_utils.resume.plain import copied, plain
from course_utils.resume.schedulers import state_of

Settings = Mapping[str, Any]

# Private names under which schedulers keep what they were built with.
_SETTINGS = {"_schedulers", "_anneal_strategy", "_anneal_func_type"}
# They tell how far a run has come, or belong to the optimizer.
_NO_SETTINGS = {"last_epoch", "_step_count", "_last_lr", "base_lrs", "params", "param_names"}


def settings_of(thing: Any) -> Any:
    """Return a copy of an optimizer's settings, a dict for each group, or of a scheduler's."""
    state = thing.param_groups if isinstance(thing, Optimizer) else state_of(thing)
    try:
        return copied(plain(_settings_in(state), "settings"))
    except CheckpointWriteError:  # saving will say what is wrong with it
        return {}


def added(name: str, state: Mapping[str, Any]) -> set[str]:
    """Return which entries of a saved optimizer's groups were not there when it was built.

    One that lacks what it was built with is another optimizer: of it, nothing is taken for added.

    Args:
        name: the optimizer's.
        state: of a run, or something in its place.
    """
    built = state.get("about", {}).get("settings", {}).get(name)
    groups = state[name].get("param_groups") if isinstance(state.get(name), Mapping) else None
    pairs = zip(groups, built, strict=False) if groups and isinstance(built, list) else ()
    new = [g.keys() - former.keys() for g, former in pairs if former.keys() <= g.keys()]
    return set().union(*new)


def changes(saved: Settings, here: Settings, keep: Collection[str]) -> list[str]:
    """Say of each setting that was changed whose value counts, a line each.

    Args:
        saved: settings by part, when the saved run was built.
        here: settings by part, as this run was built.
        keep: the parts whose settings stay as they are here.
    """
    lines = []
    for part in here.keys() & saved.keys():
        mine, theirs = "this run's counts", f"the checkpoint's counts, unless keep=['{part}']"
        whose = mine if part in keep else theirs
        lines += [f"- {part}.{change}; {whose}" for change in changed(saved[part], here[part])]
    return lines


def keep_settings(state: dict[str, Any], saved: Settings, here: Settings, keep: Any) -> None:
    """Write this run's settings into a state, for the parts to keep."""
    for part in (part for part in keep if part in state and part in saved and part in here):
        if isinstance(state[part], dict) and "param_groups" in state[part]:
            groups = keep_here(state[part]["param_groups"], saved[part], here[part])
            state[part]["param_groups"] = groups
        else:
            state[part] = keep_here(state[part], saved[part], here[part])


def align_base_lrs(parts: Mapping[str, Any], keep: Collection[str]) -> None:
    """Let the schedulers of optimizers to keep start from these optimizers' learning rates."""
    kept = [parts[name].thing for name in keep if name in parts]
    for part in parts.values():
        optimizer = getattr(getattr(part, "thing", None), "optimizer", None)
        if any(optimizer is other for other in kept):
            set_base_lrs(part.thing, optimizer)


def changed(saved: Any, here: Any) -> list[str]:
    """Return ``"lr is 0.1 in the checkpoint and 0.2 here"`` for each setting that both have."""
    found = []
    for path in differences(saved, here):
        keys = path.split(".") if path else []
        pair = _at(saved, keys), _at(here, keys)
        if _ABSENT not in pair and all(map(_is_public, keys)):
            name = ".".join(key for key in keys if not key.isdigit())
            found.append(f"{name} is {pair[0]!r} in the checkpoint and {pair[1]!r} here")
    return list(dict.fromkeys(found))


def keep_here(state: Any, saved: Any, here: Any) -> Any:
    """Return a saved state in which every setting that was changed has this run's value.

    Args:
        state: what was saved: an optimizer's ``param_groups``, or a scheduler's state.
        saved: its settings when that run was built.
        here: the settings of this run, as built.
    """
    if all(_has_settings(side) for side in (state, saved, here)):
        both = [key for key in state if key in saved and key in here]
        kept = {key: keep_here(state[key], saved[key], here[key]) for key in both}
        if saved.get("initial_lr") and "initial_lr" in here and "lr" in state:
            # A schedule has moved it: the new one goes as far.
            kept["lr"] = state["lr"] * (here["initial_lr"] / saved["initial_lr"])
        return {**state, **kept}
    if all(isinstance(side, list) and len(side) == len(state) for side in (state, saved, here)):
        return [keep_here(*row) for row in zip(state, saved, here, strict=True)]
    if not differences(saved, here):
        return state
    return Counter(here) if isinstance(state, Counter) else copied(here)


def set_base_lrs(scheduler: Any, optimizer: Any) -> None:
    """Let a scheduler, and those inside it, start from the optimizer's own learning rates."""
    for inner in getattr(scheduler, "_schedulers", []):
        set_base_lrs(inner, optimizer)
    if hasattr(scheduler, "base_lrs"):
        scheduler.base_lrs = [group["initial_lr"] for group in optimizer.param_groups]


def _settings_in(state: Any) -> Any:
    if isinstance(state, dict):
        return {key: _settings_in(v) for key, v in state.items() if key not in _NO_SETTINGS}
    return [_settings_in(value) for value in state] if type(state) is list else state


def _at(settings: Any, keys: list[str]) -> Any:
    for key in keys:
        if isinstance(settings, list | tuple):
            settings = settings[int(key)] if int(key) < len(settings) else _ABSENT
        elif _has_settings(settings):
            settings = settings.get(key, _ABSENT)
        else:  # the whole dictionary is one setting
            return settings if isinstance(settings, dict) else _ABSENT
    return settings


def _has_settings(value: Any) -> bool:
    """Whether it is a dictionary of settings, not itself one, as a Counter of milestones is."""
    return (
        isinstance(value, dict)
        and not isinstance(value, Counter)
        and all(isinstance(key, str) for key in value)
    )


def _is_public(key: str) -> bool:
    return not key.startswith("_") or key in _SETTINGS


_ABSENT = object()

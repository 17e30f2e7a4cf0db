"""Schedulers' states, which have other entries in other versions of PyTorch."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from torch.optim.swa_utils import SWALR

from course_utils.resume.misfits import key_misfits

State = Mapping[str, Any]


def state_of(scheduler: Any) -> Any:
    """Return a scheduler's state as newer versions give it: SWALR's function by its name.

    PyTorch 2.6 has the function itself there, which a safe load refuses.
    """
    return _named(scheduler.state_dict())


def load_into(scheduler: Any, saved: State) -> None:
    """Restore what a scheduler has a place for; the rest stays as it was built."""
    scheduler.load_state_dict(_as_here(saved, scheduler.state_dict()))


def scheduler_misfits(part: str, mine: State, theirs: State) -> tuple[list[str], list[str]]:
    """Return names on one side only, a line each: problems, and what comes and goes with versions.

    Args:
        part: the scheduler's name.
        mine: its state here, as `state_of` gives it.
        theirs: the saved one.
    """
    found = list(_misfits(part, mine, theirs))
    notes = [line for line, key in found if key.startswith("_") or key in _DROPPED]
    return [line for line, _ in found if line not in notes], notes


def _misfits(part: str, mine: State, theirs: State) -> Iterator[tuple[str, str]]:
    """Names on one side only, in the schedulers inside this one too."""
    yield from key_misfits(part, mine, theirs)
    inside = mine.get("_schedulers", []), theirs.get("_schedulers", [])
    here, there = map(len, inside)
    if here != there:
        yield f"- {part} is made of {there} schedulers, here of {here}", "schedulers"
    for number, pair in enumerate(zip(*inside, strict=False)):
        yield from _misfits(f"{part}._schedulers.{number}", *pair)


def _named(state: Any) -> Any:
    if not isinstance(state, Mapping):
        return state
    new = dict(state)
    for strategy, function in _ANNEALING.items():
        if new.get("anneal_func") is function:
            del new["anneal_func"]
            new["_anneal_strategy"] = strategy
    if "_schedulers" in new:
        new["_schedulers"] = [_named(inner) for inner in new["_schedulers"]]
    return new


def _as_here(saved: State, mine: State) -> dict[str, Any]:
    """A scheduler's state with the entries it has here, in the schedulers inside it too."""
    known = {key: value for key, value in saved.items() if key in mine}
    if mine.get("anneal_func") in _ANNEALING.values():
        strategy = saved.get("_anneal_strategy")
        known["anneal_func"] = _ANNEALING.get(strategy, mine["anneal_func"])
    inside, here = known.get("_schedulers"), mine.get("_schedulers")
    if inside and here:
        known["_schedulers"] = [_as_here(*pair) for pair in zip(inside, here, strict=True)]
    return known


_DROPPED = {"verbose"}  # public entries that schedulers had once: `verbose` until PyTorch 2.6
_ANNEALING: dict[Any, Callable[..., Any]] = {
    "cos": SWALR._cosine_anneal,
    "linear": SWALR._linear_anneal,
}

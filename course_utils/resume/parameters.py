"""Names of parameters, to which optimizers refer by position."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from course_utils.errors import CheckpointWriteError
from course_utils.resume.wrapped import matched, unwrapped, without_wrappers

Order = dict[str, list[list[str]]]
"""For each optimizer, the names of its parameters, by group."""
UNKNOWN = "?"


def named_parameters(things: Mapping[str, Any]) -> dict[str, Tensor]:
    """Return all parameters by name: the model's as in it, others as ``"part:name"``.

    Args:
        things: a run's parts by name.
    """
    named: dict[str, Tensor] = {}
    for part, thing in things.items():
        if isinstance(thing, nn.Module) and part != "ema":
            prefix = "" if part == "model" else f"{part}:"
            for name, parameter in unwrapped(thing).named_parameters():
                named[prefix + name] = parameter
        elif isinstance(thing, Tensor) and thing.requires_grad:
            named[f"{part}:"] = thing
    return named


def parameter_order(things: Mapping[str, Any]) -> Order:
    """Return the names behind the numbers of each part that has groups of parameters."""
    names = {id(parameter): name for name, parameter in named_parameters(things).items()}
    return {
        part: [[names.get(id(p), UNKNOWN) for p in group["params"]] for group in thing.param_groups]
        for part, thing in things.items()
        if hasattr(thing, "param_groups") and not isinstance(thing, nn.Module)
    }


def refuse_lost_parameters(order: Order) -> None:
    """Raise if an optimizer trains a parameter that nothing would save."""
    for part, groups in order.items():
        if any(UNKNOWN in names for names in groups):
            raise CheckpointWriteError(
                f"{part}: a parameter of it is in no module that is a part of this state, so its "
                "values would not be saved; pass its module, or itself: TrainState(…, name=…)"
            )


def order_misfits(saved: Any, here: Order) -> list[str]:
    """Say which optimizers were built over other parameters, or in another order."""
    orders = saved if isinstance(saved, Mapping) else {"optimizer": saved}  # one, in build 0.1
    problems = []
    for part in here.keys() & orders.keys():
        theirs = [name for group in orders[part] for name in group]
        names = matched(theirs, [name for group in here[part] for name in group])
        if [[names.get(name) for name in group] for group in orders[part]] != here[part]:
            problems.append(
                f"- {part}: its parameters come in another order or grouping than in the file, "
                "so moments would go to the wrong ones. Build it as the saved run did."
            )
    return problems


def named_here(saved: Mapping[str, Any], here: Mapping[str, Any]) -> dict[str, Any]:
    """Return values by the names that their parameters have here, whatever is wrapped."""
    names = {without_wrappers(name): name for name in here}
    return {names.get(without_wrappers(name), name): value for name, value in saved.items()}

"""A run as it was built: what a new one will be, into which its saves have to load."""

import warnings
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from course_utils.resume.forgotten import Forgotten
from course_utils.resume.optimizers import OptimizerPart
from course_utils.resume.parameters import order_misfits, parameter_order
from course_utils.resume.parts import ModulePart, ScalerPart, SchedulerPart, part_for
from course_utils.resume.schedulers import state_of
from course_utils.resume.settings import added
from course_utils.resume.unsaved import Unsaved


class AsBuilt:
    """Remembers a run when it is built, and says at a save what a new one would not have.

    Args:
        things: a run's parts by name.
    """

    def __init__(self, things: Mapping[str, Any]) -> None:
        outlines = {name: _outline(part_for(name, thing, {})) for name, thing in things.items()}
        self._parts = {name: part for name, part in outlines.items() if part}
        self._order = parameter_order(things)
        self._unsaved, self._forgotten = Unsaved(things), Forgotten(things)
        self._said: set[str] = set()

    def warn(self, things: Mapping[str, Any], state: Mapping[str, Any]) -> None:
        """Say why a run that loads this state may not be the same run, once of each reason.

        Args:
            things: the run's parts now.
            state: what is saved of them.

        Warns:
            UserWarning: a run built as this one was could not load it, or would lack what is in
                no part.
        """
        for heading, lines in (
            (_OTHER, self._misfits(state)),
            (_LOST, self._forgotten.lines(things) + self._unsaved.changed(things, state)),
        ):
            if new := [line for line in lines if line not in self._said]:
                self._said.update(new)
                warnings.warn("\n".join([heading, *new]), stacklevel=3)

    def restored(self) -> None:
        """Take note that the run's values come from a checkpoint now."""
        self._forgotten.restored()

    def _misfits(self, state: Mapping[str, Any]) -> list[str]:
        """What would keep a state from being loaded into a run built as this one was."""
        lines: list[str] = []
        for name, part in self._parts.items():
            if isinstance(part, OptimizerPart):
                part = OptimizerPart(name, part.thing, added(name, state))
            lines += part.check(state[name])[0] if name in state else []
        return lines or order_misfits(state["parameter_order"], self._order)


class _Outline:
    """Stands for a module or whatever else was built; it has the same state, without values."""

    def __init__(self, state: Any) -> None:
        self.state, self.param_groups = state, state.get("param_groups")

    def state_dict(self) -> Any:
        return self.state


def _outline(part: Any) -> Any:
    """Return a part of the same kind that checks states as it does; None if that cannot differ."""
    stand_in: Any
    if isinstance(part, OptimizerPart):
        groups = [{**g, "params": [None] * len(g["params"])} for g in part.thing.param_groups]
        stand_in = _Outline({"param_groups": groups})
    elif isinstance(part, SchedulerPart):
        stand_in = _Outline(_without_values(state_of(part.thing)))
    elif isinstance(part, ModulePart | ScalerPart):
        stand_in = _Outline(_without_values(part.thing.state_dict()))
    else:
        return None
    return type(part)(part.name, stand_in)


def _without_values(value: Any) -> Any:
    if nn.parameter.is_lazy(value):
        return nn.UninitializedParameter()  # the one here will get its shape
    if isinstance(value, Tensor):
        return torch.empty(value.shape, dtype=value.dtype, device="meta")
    if isinstance(value, Mapping):
        return {key: _without_values(item) for key, item in value.items()}
    return [_without_values(item) for item in value] if isinstance(value, list) else None


_OTHER = (
    "this run is built otherwise than when its TrainState was made; before a new run loads this "
    "save, change it in the same way:"
)
_LOST = (
    "training has changed what no part of this TrainState saves, so a run that loads this save may "
    "be another one (a cache that is computed again, or a note for yourself, is no loss):"
)

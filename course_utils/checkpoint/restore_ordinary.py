"""Calls ``load_state_dict``: in the ordinary way, with a way back, or after tensors were filled."""

from collections.abc import Callable, Mapping
from copy import deepcopy
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from course_utils.checkpoint.undo import Undo
from course_utils.errors import MismatchedCheckpointError


def hand_over(path: Path, target: Any, state: Any) -> None:
    """Let objects load a state: all of them, or none.

    Args:
        path: names the file, for messages.
        target: an object with ``load_state_dict``, or a dict from entries of the state to such.
        state: what the file holds.

    Raises:
        MismatchedCheckpointError: one of them refuses its state; the others are as they were.
    """
    parts = target if isinstance(target, Mapping) else {None: target}
    undo = Undo()
    try:
        for name, part in parts.items():
            undo.add(str(name), _remember(part))
            part.load_state_dict(state if name is None else state[name])
    except Exception as error:
        outcome = "old and new values are mixed" if undo.put_back() else "nothing was loaded"
        raise MismatchedCheckpointError(f"{path}: does not fit, and {outcome}. {error}") from error


def load_filled(part: Any, state: Any) -> None:
    """Do what ``load_state_dict`` does with a state whose tensors are the part's own.

    Args:
        part: the module or optimizer.
        state: as a `Plan` has it, its tensors filled.
    """
    if isinstance(part, nn.Module):  # else torch would copy each tensor upon itself
        hooks = any(module._load_state_dict_post_hooks for module in part.modules())
        if not hooks and all(isinstance(value, Tensor) for value in state.values()):
            return
    part.load_state_dict(state)


def _remember(part: Any) -> Callable[[], object]:
    """Return what puts a part back. A module's own hooks may refuse what it saves itself."""
    if not isinstance(part, nn.Module):
        return partial(part.load_state_dict, deepcopy(part.state_dict()))
    live = part.state_dict(keep_vars=True)
    former = {key: deepcopy(value.detach() if isinstance(value, Tensor) else value)
              for key, value in live.items()}  # fmt: skip

    def put_back() -> None:
        with torch.no_grad():
            for key, value in live.items():
                if isinstance(value, Tensor):
                    value.detach().copy_(former[key])
                else:
                    part.get_submodule(key.rpartition(".")[0]).set_extra_state(former[key])

    return put_back

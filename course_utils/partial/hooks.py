"""A model's own renaming of keys: what ``load_state_dict`` would do before it copies."""

from collections.abc import Collection, Mapping
from typing import Any

import torch
from torch import Tensor, nn


def renamed_by_model(
    model: nn.Module,
    names: Mapping[str, str],
    specs: Mapping[str, Any],
    targets: Collection[str],
) -> dict[str, str]:
    """Return names as the model's hooks change them, such as ``weight_g`` of an older weight norm.

    The hooks run on tensors without memory, so they can rename and not compute. A hook that fails
    on those, or that makes new values, changes nothing here.

    Args:
        model: whose hooks.
        names: new name of each source key.
        specs: shape and dtype of each source key that is a tensor.
        targets: the model's keys.
    """
    prefix = _dropped(names, targets)
    found = {
        key: name if name in targets else name.removeprefix(prefix) for key, name in names.items()
    }
    for path, module in model.named_modules():
        # Private, with no public way to ask; without it keys stay as they are.
        for hook in list(getattr(module, "_load_state_dict_pre_hooks", {}).values()):
            found = _through(hook, f"{path}." if path else "", found, specs)
    return {key: found[key] if found[key] in targets else name for key, name in names.items()}


def _dropped(names: Mapping[str, str], targets: Collection[str]) -> str:
    """The prefix that all keys have lost that fit; the others have it too."""
    lost = {key.removesuffix(name) for key, name in names.items() if name in targets}
    return lost.pop() if len(lost) == 1 else ""


def _through(
    hook: Any, prefix: str, names: dict[str, str], specs: Mapping[str, Any]
) -> dict[str, str]:
    state: dict[str, Tensor] = {}
    owners: dict[int, str] = {}
    for key, name in names.items():
        if key in specs:
            spec = specs[key]
            state[name] = torch.empty(spec.shape, dtype=spec.dtype, device="meta")
            owners[id(state[name])] = key
    before = dict(state)  # keeps them alive: their ids are their names
    try:
        hook(state, prefix, {}, False, [], [], [])
    except Exception:
        return names
    moved = {owners[id(v)]: name for name, v in state.items() if id(v) in owners}
    same = {key: name for key, name in names.items() if key not in moved}
    return same | moved if len(moved) == len(before) else names

"""Build a large model without memory for its weights, then give it a checkpoint's tensors."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.module import register_module_parameter_registration_hook

from course_utils.checkpoint import load_checkpoint
from course_utils.errors import MismatchedCheckpointError
from course_utils.partial.names import match_keys
from course_utils.partial.sources import Source, is_extra, keys_of, open_source, refuse_unread


@contextmanager
def empty_parameters() -> Iterator[None]:
    """Build modules whose parameters are on the meta device and whose buffers are real.

    Unlike ``with torch.device("meta")``, which leaves non-persistent buffers without values that
    no checkpoint can give back. Initialising meta parameters costs nothing. Modules that other
    threads build meanwhile are not touched; blocks may be nested.
    """
    _hook_once()
    before = _inside.set(True)
    try:
        yield
    finally:
        _inside.reset(before)


def load_into_meta(model: nn.Module, path: str | os.PathLike[str], *, mmap: bool = False) -> None:
    """Give a model on the meta device the tensors of a file, without a second copy of them.

    Tied parameters are tied again, dtypes and ``requires_grad`` are the model's, wrappers'
    prefixes in keys are recognised. Everything is on the CPU afterwards. Build the optimizer
    after this call: it replaces the parameters.

    Args:
        model: built under `empty_parameters`, or under ``torch.device("meta")`` if it has no
            non-persistent buffers.
        path: a file with the state_dict of the whole model.
        mmap: map the file into memory; pages are read when first used, and the file must not be
            overwritten while the model lives. Checksums are verified before.

    Raises:
        MismatchedCheckpointError: keys or shapes differ, tied parameters have different values,
            or a non-persistent buffer is on the meta device. The model is unchanged.
        CheckpointError: the file cannot be read.
    """
    _refuse_lost_buffers(model)
    targets = model.state_dict(keep_vars=True)
    origin = open_source(load_checkpoint(path, mmap=True, verify_mapped=True) if mmap else path)
    names = match_keys(keys_of(origin), targets)
    refuse_unread(origin, targets, names)
    owners = {new: old for old, new in names.items() if new in targets}
    groups = _tied_groups(targets)
    _refuse_misfits(path, origin, owners, targets, groups)
    for keys in groups:
        targets.update(dict.fromkeys(keys, _read(path, origin, owners, keys, targets[keys[0]])))
    model.load_state_dict(targets, assign=True)


_inside: ContextVar[bool] = ContextVar("inside empty_parameters", default=False)


@cache
def _hook_once() -> None:
    """Register for good: torch's table of hooks must not change while another thread reads it."""
    register_module_parameter_registration_hook(_on_meta)  # type: ignore[arg-type]


def _on_meta(_module: nn.Module, _name: str, param: nn.Parameter | None) -> nn.Parameter | None:
    """Return what is registered in the place of a parameter, None for the parameter itself."""
    if not _inside.get() or param is None or param.is_meta:
        return None
    return nn.Parameter(param.to("meta"), requires_grad=param.requires_grad)


def _read(
    path: str | os.PathLike[str],
    origin: Source,
    owners: Mapping[str, str],
    keys: list[str],
    target: Any,
) -> Any:
    """Read what keys that are one object in the model share."""
    if is_extra(keys[0]):
        return origin.read_extra(owners[keys[0]])
    first, *others = origin.read([owners[key] for key in keys if key in owners]).values()
    if not all(torch.equal(first, other) for other in others):
        raise MismatchedCheckpointError(
            f"{path}: {' and '.join(keys)} are one tensor in the model, but differ in the file"
        )
    tensor = first.to(target.dtype)
    if isinstance(target, nn.Parameter):  # one Parameter for all its keys: assigning ties them
        return nn.Parameter(tensor, requires_grad=target.requires_grad)
    return tensor


def _tied_groups(targets: Mapping[str, Any]) -> list[list[str]]:
    groups: dict[object, list[str]] = {}
    for key, value in targets.items():
        groups.setdefault(id(value) if isinstance(value, Tensor) else key, []).append(key)
    return list(groups.values())


def _refuse_lost_buffers(model: nn.Module) -> None:
    kept = model.state_dict().keys()
    for name, buffer in model.named_buffers():
        if buffer.is_meta and name not in kept:
            raise MismatchedCheckpointError(
                f"'{name}' is on the meta device, and no file holds it: it is a non-persistent "
                "buffer. Build the model under course_utils.devices.empty_parameters(), which "
                "leaves buffers real, or compute it again before loading."
            )


def _refuse_misfits(
    path: str | os.PathLike[str],
    origin: Source,
    owners: Mapping[str, str],
    targets: Mapping[str, Any],
    groups: list[list[str]],
) -> None:
    missing = [keys[0] for keys in groups if not any(key in owners for key in keys)]
    # Keys beside the model's, such as an optimizer's, are not the model's business.
    places = {owner.removesuffix(key) for key, owner in owners.items()}
    used = set(owners.values())
    unexpected = [
        key
        for key in [*origin.specs, *origin.extra]
        if key not in used and any(key.startswith(place) for place in places)
    ]
    shapes = [
        f"{key} {origin.specs[owner].shape} for {tuple(targets[key].shape)}"
        for key, owner in owners.items()
        if not is_extra(key) and origin.specs[owner].shape != tuple(targets[key].shape)
    ]
    for problem, keys in [("missing", missing), ("unexpected", unexpected), ("shape", shapes)]:
        if keys:
            raise MismatchedCheckpointError(
                f"{path}: does not fit the model. {problem}: {', '.join(keys[:5])} "
                f"({len(keys)} in all). To load a part, use course_utils.partial."
            )

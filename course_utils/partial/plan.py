"""Load what fits from a checkpoint into a model: say first what would happen, then do it."""

import os
from collections.abc import Callable, Mapping
from copy import deepcopy
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from course_utils.errors import MismatchedCheckpointError
from course_utils.partial.hooks import renamed_by_model
from course_utils.partial.names import Rename, match_keys, prefixes
from course_utils.partial.report import LoadReport, Shape
from course_utils.partial.shapes import Resize
from course_utils.partial.sources import Source, is_extra, keys_of, open_source, refuse_unread


def plan_partial_load(
    model: nn.Module,
    source: Mapping[str, Any] | str | os.PathLike[str],
    rename: Rename | None = None,
    resize: Mapping[str, Resize] | None = None,
) -> "LoadPlan":
    """Compare a checkpoint with a model and plan what to copy. Nothing is changed yet.

    Args:
        model: its parameters, persistent buffers and extra state are what can be loaded.
        source: a state_dict, a checkpoint that holds one, or the path of a file with either. Of
            a file, only the tensors in the plan are read, and its pickle is never run.
        rename: a mapping, pairs of regular expression and replacement, or a function; None
            recognises what wrappers and nesting add to keys. See `names.match_keys`. What the
            model's own hooks rename when it loads, such as ``weight_g``, is renamed besides.
        resize: from model keys, or patterns such as ``"head.*"``, to functions that make the
            checkpoint's tensor fit another shape; see `resize`. Without one, a tensor of
            another shape is not loaded but listed under ``wrong_shape``.

    Raises:
        MismatchedCheckpointError: nothing would be loaded; two keys land on one; ``resize``
            names no key of the model; a dtype of another kind; or the model has tensors
            without memory (meta device, lazy modules).
        CheckpointError: the file cannot be read.
    """
    _refuse_unready(model)
    origin = open_source(source)
    targets = model.state_dict(keep_vars=True)
    names = match_keys(keys_of(origin), targets, rename)
    refuse_unread(origin, targets, names)
    names = renamed_by_model(model, names, origin.specs, targets)
    owners = {new: old for old, new in names.items() if new in targets}
    plan = _classify(model, origin, targets, owners, _resizers(resize or {}, targets))
    if not plan.loaded:
        raise MismatchedCheckpointError(_why_nothing(plan, origin, targets))
    return plan


@dataclass(frozen=True, repr=False)
class LoadPlan(LoadReport):
    """What would be loaded, readable as text and as HTML; `apply` does it."""

    _model: nn.Module = field(kw_only=True)
    _origin: Source = field(kw_only=True)
    _owners: Mapping[str, str] = field(kw_only=True)  # from model key to source key
    _resizers: Mapping[str, Resize] = field(kw_only=True)

    def apply(self) -> None:
        """Copy exactly what the plan says, or, if anything fails, nothing.

        Values are copied into the model's own tensors, so an optimizer stays valid, devices and
        dtypes stay the model's, and tied weights stay tied. Hooks of ``load_state_dict`` do not
        run. Until the copy has succeeded, the old values of what it overwrites are kept.

        Raises:
            MismatchedCheckpointError: the model has changed since the plan; a strategy gave a
                wrong shape; values overflow the model's dtype; or tied weights would get
                different values.
            DamagedCheckpointError: the file's bytes do not match their checksum.
        """
        targets = self._model.state_dict(keep_vars=True)
        staged = self._stage(targets)
        extra = {k: self._origin.read_extra(self._owners[k]) for k in self.loaded if is_extra(k)}
        with _Undo() as undo, torch.no_grad():
            for key in self.loaded:
                if is_extra(key):
                    undo.set_extra(self._model, key, extra[key])
                else:
                    undo.copy(targets[key], staged[key])

    def _stage(self, targets: Mapping[str, Any]) -> dict[str, Tensor]:
        """Read, resize and check every tensor, so that copying has little left to fail at."""
        keys = [key for key in self.loaded if not is_extra(key)]
        read = self._origin.read([self._owners[key] for key in keys])
        alive = {t.untyped_storage()._cdata for t in targets.values() if isinstance(t, Tensor)}
        staged = {}
        for key in keys:
            value, target = read[self._owners[key]], targets.get(key)
            if key in self._resizers and isinstance(target, Tensor):
                value = _resized(key, self._resizers[key], value, target)
            staged[key] = _fitting(key, value, target)
            if staged[key].untyped_storage()._cdata in alive:
                staged[key] = staged[key].clone()  # the model's own memory: about to change
        _refuse_torn_ties(staged, targets)
        return staged


def _classify(
    model: nn.Module,
    origin: Source,
    targets: Mapping[str, Any],
    owners: dict[str, str],
    resizers: dict[str, Resize],
) -> LoadPlan:
    changed: dict[str, tuple[Shape, Shape]] = {}
    dtypes: dict[str, tuple[torch.dtype, torch.dtype]] = {}
    for key, owner in owners.items():
        if is_extra(key):
            origin.read_extra(owner)  # refuses what cannot be read
            continue
        spec, target = origin.specs[owner], targets[key]
        if spec.shape != tuple(target.shape):
            changed[key] = spec.shape, tuple(target.shape)
        if spec.dtype != target.dtype:
            dtypes[key] = spec.dtype, target.dtype
    _refuse_other_kinds(dtypes)
    resizers = {key: resizers[key] for key in changed if key in resizers}
    wrong = {key: shapes for key, shapes in changed.items() if key not in resizers}
    loaded = [key for key in targets if key in owners and key not in wrong]
    tied = _filled_by_tie(targets, loaded)
    used = set(owners.values())
    return LoadPlan(
        loaded=tuple(loaded),
        missing=tuple(key for key in targets if key not in owners and key not in tied),
        unexpected=tuple(k for k in [*origin.specs, *origin.extra] if k not in used),
        wrong_shape=wrong,
        renamed={owners[key]: key for key in loaded if owners[key] != key},
        wrong_dtype={key: pair for key, pair in dtypes.items() if key not in wrong},
        resized={key: changed[key] for key in resizers},
        tied=tied,
        coverage=_coverage(targets, loaded),
        _model=model,
        _origin=origin,
        _owners=owners,
        _resizers=resizers,
    )


def _resizers(resize: Mapping[str, Resize], targets: Mapping[str, Any]) -> dict[str, Resize]:
    found: dict[str, Resize] = {}
    for pattern, strategy in resize.items():
        keys = [key for key in targets if key == pattern or fnmatchcase(key, pattern)]
        if not keys:
            raise MismatchedCheckpointError(f"resize: the model has no key like '{pattern}'")
        found |= dict.fromkeys(keys, strategy)
    return found


def _refuse_unready(model: nn.Module) -> None:
    """Copying into a tensor without memory does nothing, silently: name it instead."""
    for name, tensor in [*model.named_parameters(), *model.named_buffers()]:
        if nn.parameter.is_lazy(tensor):
            raise MismatchedCheckpointError(
                f"'{name}' of the model has no shape yet; run one batch through its lazy modules"
            )
        if tensor.is_meta:
            raise MismatchedCheckpointError(
                f"'{name}' of the model is on the meta device and has no memory to load into; "
                "use course_utils.devices.load_into_meta, or model.to_empty(device=…) first"
            )


def _refuse_other_kinds(dtypes: Mapping[str, tuple[torch.dtype, torch.dtype]]) -> None:
    for key, (source, target) in dtypes.items():
        if not torch.can_cast(source, target):
            raise MismatchedCheckpointError(
                f"'{key}': {source} values cannot become the model's {target} without losing "
                "more than precision; leave the key out, or convert it yourself"
            )


def _why_nothing(plan: LoadPlan, origin: Source, targets: Mapping[str, Any]) -> str:
    if plan.wrong_shape:
        key, (source, target) = next(iter(plan.wrong_shape.items()))
        return (
            f"{origin.name}: nothing in it fits the model: {len(plan.wrong_shape):,} keys agree, "
            f"and their shapes do not; '{key}' has {source}, in the model {target}. "
            "A strategy for it can be given with resize={…}."
        )
    counts = prefixes(origin.specs, targets).most_common(3)
    seen = ", ".join(f"'{key}'" for key in list(origin.specs)[:3]) or "no tensors"
    if not origin.specs and origin.unread:
        key, reason = next(iter(origin.unread.items()))
        seen = f"no tensors that are read: '{key}' is {reason}"
    wanted = ", ".join(f"'{key}'" for key in list(targets)[:3])
    message = f"{origin.name}: nothing in it fits the model. It has {seen}; the model has {wanted}."
    if counts:
        found = ", ".join(f"'{prefix}' ({n})" for prefix, n in counts)
        message += f" Model keys follow these prefixes: {found}. Choose with rename=[(r'^…', '')]."
    return message


def _filled_by_tie(targets: Mapping[str, Any], loaded: list[str]) -> dict[str, str]:
    """Model keys that are not loaded themselves but share a tensor with one that is."""
    done = set(loaded)
    by_tensor = {id(targets[key]): key for key in loaded if isinstance(targets[key], Tensor)}
    return {
        key: by_tensor[id(tensor)]
        for key, tensor in targets.items()
        if id(tensor) in by_tensor and key not in done
    }


def _coverage(targets: Mapping[str, Any], loaded: list[str]) -> float:
    sizes = {id(t): t.numel() for t in targets.values() if isinstance(t, Tensor)}
    filled = {id(targets[key]) for key in loaded} & sizes.keys()
    return sum(sizes[tensor] for tensor in filled) / max(1, sum(sizes.values()))


def _resized(key: str, strategy: Resize, value: Tensor, target: Tensor) -> Tensor:
    try:
        return strategy(value, target.detach().clone())
    except ValueError as error:
        raise MismatchedCheckpointError(f"'{key}': {error}") from None


def _fitting(key: str, value: Tensor, target: Any) -> Tensor:
    """Return the value in the target's dtype, once it is certain that it fits."""
    if not isinstance(target, Tensor) or value.shape != target.shape:
        wanted = tuple(target.shape) if isinstance(target, Tensor) else "gone"
        raise MismatchedCheckpointError(
            f"'{key}': got shape {tuple(value.shape)}, but the model's is {wanted}"
        )
    cast = value.to(target.dtype)
    if cast.dtype != value.dtype and _overflows(value, cast):
        raise MismatchedCheckpointError(
            f"'{key}': values up to {value.abs().max():.3g} overflow the model's {target.dtype}"
        )
    return cast


def _overflows(value: Tensor, cast: Tensor) -> bool:
    if cast.is_floating_point() or cast.is_complex():
        return bool((_finite(value) & ~_finite(cast)).any())
    return not torch.equal(cast.to(value.dtype), value)


def _finite(value: Tensor) -> Tensor:
    eight_bits = value.is_floating_point() and value.itemsize == 1  # isfinite lacks these dtypes
    return (value.float() if eight_bits else value).isfinite()


def _refuse_torn_ties(staged: Mapping[str, Tensor], targets: Mapping[str, Any]) -> None:
    first: dict[int, str] = {}
    for key, value in staged.items():
        other = first.setdefault(id(targets[key]), key)
        if other != key and not torch.equal(staged[other], value):
            raise MismatchedCheckpointError(
                f"'{other}' and '{key}' are one tensor in the model, but differ in the source; "
                "leave one out with rename"
            )


class _Undo:
    """Overwrites values, and puts the old ones back if the block fails."""

    def __init__(self) -> None:
        self.steps: list[Callable[[], Any]] = []

    def copy(self, target: Tensor, value: Tensor) -> None:
        self.steps.append(partial(target.copy_, target.clone()))
        target.copy_(value)

    def set_extra(self, model: nn.Module, key: str, value: Any) -> None:
        module = model.get_submodule(key.rpartition(".")[0])
        self.steps.append(partial(module.set_extra_state, deepcopy(module.get_extra_state())))
        module.set_extra_state(value)

    def __enter__(self) -> "_Undo":
        return self

    def __exit__(self, _: object, error: BaseException | None, *__: object) -> None:
        if error is not None:
            for step in reversed(self.steps):
                self._back(step, error)

    def _back(self, step: Callable[[], Any], error: BaseException) -> None:
        try:
            with torch.no_grad():
                step()
        except Exception as another:  # go on: each value put back counts
            error.add_note(f"one value of the model could not be put back: {another}")

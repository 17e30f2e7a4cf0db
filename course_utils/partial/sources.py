"""Where weights come from: a state_dict in memory, or a file of which little is read."""

import os
from collections.abc import Collection, Iterator, Mapping
from copy import deepcopy
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

from course_utils.anatomy.archive import Archive, read_archive, read_tensors
from course_utils.anatomy.read import dtype_of
from course_utils.errors import MismatchedCheckpointError, UnsupportedCheckpointError
from course_utils.formats.modules import with_weights_named
from course_utils.formats.tensors import TensorInfo

EXTRA_STATE = "_extra_state"
MOST = 10_000_000  # places looked at for what has a name; a model of 20,000 tensors has 20,000


class Spec(NamedTuple):
    """What a tensor is, without its values."""

    shape: tuple[int, ...]
    dtype: torch.dtype


class Source(Protocol):
    """Named tensors and extra state that can be described first and read later.

    Attributes:
        name: for messages.
        specs: shape and dtype of each tensor, by dotted path.
        extra: dotted paths of the extra state of modules.
        unread: what is known of tensors that are there and cannot be read, by dotted path.
    """

    name: str
    specs: dict[str, Spec]
    extra: Collection[str]
    unread: Mapping[str, str]

    def read(self, keys: Collection[str]) -> dict[str, Tensor]:
        """Return the tensors of these keys, and touch no other."""
        ...

    def read_extra(self, key: str) -> Any:
        """Return a copy of one module's extra state."""
        ...


def open_source(source: Mapping[str, Any] | str | os.PathLike[str]) -> Source:
    """Describe a state_dict, a checkpoint with state_dicts in it, or a file of either.

    Values that are neither tensors nor a module's extra state are left out. The tensors of a
    module that was pickled whole have the names that its state_dict would give them.

    Raises:
        CheckpointError: the file cannot be read; see `anatomy.read_archive`.
        UnsupportedCheckpointError: it has mappings in mappings without end.
    """
    return _InMemory(source) if isinstance(source, Mapping) else _InFile(read_archive(source))


class _InMemory:
    name = "the state_dict"

    def __init__(self, state: Mapping[str, Any]) -> None:
        self.unread: Mapping[str, str] = {}
        self.values = dict(_flatten(state))
        self.extra: Collection[str] = [key for key in self.values if is_extra(key)]
        self.specs = {
            key: Spec(tuple(value.shape), value.dtype)
            for key, value in self.values.items()
            if isinstance(value, Tensor) and not is_extra(key)
        }

    def read(self, keys: Collection[str]) -> dict[str, Tensor]:
        _refuse_meta(self.name, [key for key in keys if self.values[key].is_meta])
        return {key: self.values[key].detach() for key in keys}

    def read_extra(self, key: str) -> Any:
        return deepcopy(self.values[key])


class _InFile:
    def __init__(self, archive: Archive) -> None:
        self.name = str(archive.path)
        self.archive = archive
        self._infos = _weights(archive)
        self.specs = {name: Spec(t.shape, dtype_of(t)) for name, t in self._infos.items()}
        self.unread: Mapping[str, str] = {
            **{name: f"{x.kind}: {x.reason}" for name, x in archive.others.items()},
            **{
                name: f"quantized ({t.dtype}): its elements are codes"
                for name, t in self._infos.items()
                if t.quantizer is not None
            },
        }
        root = archive.tree if isinstance(archive.tree, Mapping) else {}
        self.nodes = {key: value for key, value in _flatten(root) if is_extra(key)}
        self.extra: Collection[str] = self.nodes

    def read(self, keys: Collection[str]) -> dict[str, Tensor]:
        infos = {key: self._infos[key] for key in keys}
        _refuse_meta(self.name, [key for key, info in infos.items() if info.record is None])
        found = read_tensors(self.archive, [info.name for info in infos.values()])
        return {key: found[info.name] for key, info in infos.items()}

    def read_extra(self, key: str) -> Any:
        if not _is_plain(self.nodes[key]):
            raise MismatchedCheckpointError(
                f"{self.name}: '{key}' holds more than plain values, which need the unpickler; "
                "load the file with course_utils.checkpoint.load_checkpoint and pass what you get"
            )
        return deepcopy(self.nodes[key])


def _weights(archive: Archive) -> dict[str, TensorInfo]:
    """Return the tensors of a file that are not extra state, by the names of state_dicts."""
    return {
        name: info
        for name, info in with_weights_named(archive).tensors.items()
        if not is_extra(info.name) and info.part_of is None
    }


def keys_of(source: Source) -> list[str]:
    """Return all that a source has a name for, readable or not."""
    return list(dict.fromkeys([*source.specs, *source.extra, *source.unread]))


def refuse_unread(source: Source, targets: Collection[str], names: Mapping[str, str]) -> None:
    """Refuse a file that has, for a key of the model, a tensor that cannot be read.

    Args:
        source: the file.
        targets: keys of the model.
        names: what keys of the file are called in the model.

    Raises:
        UnsupportedCheckpointError: names the first such tensor, and what it is.
    """
    for key, reason in source.unread.items():
        if names.get(key) in targets:
            raise UnsupportedCheckpointError(
                f"{source.name}: '{key}' is there, but not read: {reason}. Load the file with "
                "torch.load, make it a plain tensor, and pass the state_dict."
            )


def is_extra(key: str) -> bool:
    """Whether a key is, or lies in, the extra state of a module."""
    return EXTRA_STATE in key.split(".")


def _flatten(state: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Yield what is in mappings in mappings, by dotted path; cycles are cut."""
    pending: list[tuple[str, Any, frozenset[int]]] = [("", state, frozenset())]
    spent = 0
    while pending:
        key, value, around = pending.pop()
        if not isinstance(value, Mapping) or is_extra(key):
            yield key, value
        elif id(value) not in around:
            spent += len(value) + len(around)
            if spent > MOST:
                raise UnsupportedCheckpointError("it has mappings that multiply without end")
            start, inside = f"{key}." if around else "", around | {id(value)}
            items = [(f"{start}{name}", inner, inside) for name, inner in value.items()]
            pending += reversed(items)


def _refuse_meta(name: str, keys: list[str]) -> None:
    if keys:
        raise MismatchedCheckpointError(
            f"{name}: '{keys[0]}' is on the meta device: it has a shape and no values"
        )


def _is_plain(value: Any) -> bool:
    if type(value) is dict:
        return all(map(_is_plain, [*value.keys(), *value.values()]))
    if type(value) in (list, tuple):
        return all(map(_is_plain, value))
    return value is None or type(value) in (bool, int, float, str, bytes)

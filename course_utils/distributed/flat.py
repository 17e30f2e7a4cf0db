"""A nested state as DCP stores it: tensors and other values under dotted names."""

import io
from collections.abc import Mapping
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor
from torch.distributed.tensor import DTensor, Replicate, Shard

from course_utils.errors import CheckpointWriteError

Path = tuple[str | int, ...]


def flatten(state: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Path]]:
    """Spread a state's dictionaries out; everything in them that is no tensor stays whole.

    Args:
        state: nested dictionaries with tensors and plain values.

    Returns:
        Tensors, and files in memory for other values, by dotted name; and each name's keys.

    Raises:
        CheckpointWriteError: two values under one name.
    """
    values: dict[str, Any] = {}
    paths: dict[str, Path] = {}

    def visit(path: tuple[str, ...], value: Any) -> None:
        if type(value) is dict and value and all(isinstance(key, str) for key in value):
            for key, inner in value.items():
                visit((*path, key), inner)
            return
        name = ".".join(path)
        if name in values:
            raise CheckpointWriteError(f"two values have the dotted name {name}; rename one")
        values[name] = _stored(value)
        paths[name] = path

    visit((), dict(state))
    return values, paths


def unflatten(values: Mapping[str, Any], paths: Mapping[str, Path]) -> dict[str, Any]:
    """Put values back into dictionaries, and into the lists of a folder of build 0.1."""
    nested: dict[str, Any] = {}
    for name, value in values.items():
        path = tuple(paths[name])
        container: Any = nested
        for key, following in pairwise(path):
            container = _enter(container, key, [] if isinstance(following, int) else {})
        _enter(container, path[-1], value)
    return nested


def room_like(tensor: Tensor, shape: torch.Size, dtype: torch.dtype) -> Tensor:
    """Return an uninitialized tensor, spread over the ranks as a parameter is.

    Args:
        tensor: the parameter.
        shape: of the whole tensor; one number per parameter is never spread.
        dtype: its own.
    """
    if not isinstance(tensor, DTensor) or not shape:
        return torch.empty(shape, dtype=dtype, device=tensor.device if shape else "cpu")
    if shape == tensor.shape:
        return torch.empty_like(tensor, dtype=dtype)
    # As sums over some dimensions of it come out.
    placements = [
        place
        if isinstance(place, Shard)
        and place.dim < len(shape)
        and shape[place.dim] == tensor.shape[place.dim]
        else Replicate()
        for place in tensor.placements
    ]
    return torch.distributed.tensor.empty(
        *shape, dtype=dtype, device_mesh=tensor.device_mesh, placements=placements
    )


def _stored(value: Any) -> Any:
    if isinstance(value, Tensor):
        value = value.detach()
        if value.layout == torch.strided and not value.is_quantized:
            return value.resolve_conj().resolve_neg()
    content = io.BytesIO()  # also of a sparse or quantized tensor, which DCP cannot store
    torch.save(value, content)
    return content


def _enter(container: Any, key: str | int, value: Any) -> Any:
    if isinstance(container, list):
        container += [None] * (int(key) + 1 - len(container))
        if container[int(key)] is None:
            container[int(key)] = value
        return container[int(key)]
    return container.setdefault(key, value)

"""Compares two states to the last bit."""

import struct
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor


def differences(left: Any, right: Any) -> list[str]:
    """Return the dotted paths at which two nested states differ, to the last bit.

    Tensors must agree in dtype, shape and every bit (so -0.0 differs from 0.0, and equal NaNs
    are equal); numbers and texts in type and value. Devices may differ.

    Args:
        left: dictionaries, lists and tuples of tensors and plain values, nested.
        right: what to compare it with.
    """
    return list(_walk(left, right, ""))


def _walk(left: Any, right: Any, path: str) -> list[str]:
    if isinstance(left, Tensor) and isinstance(right, Tensor):
        return [] if _same_bits(left, right) else [path]
    if isinstance(left, Mapping) and isinstance(right, Mapping):
        keys = [*left, *(key for key in right if key not in left)]
        pairs = [(key, left.get(key, _ABSENT), right.get(key, _ABSENT)) for key in keys]
    elif isinstance(left, list | tuple) and type(left) is type(right):
        if len(left) != len(right):
            return [path]
        pairs = [(i, a, b) for i, (a, b) in enumerate(zip(left, right, strict=True))]
    else:
        return [] if _same_value(left, right) else [path]
    found = []
    for key, a, b in pairs:
        found += _walk(a, b, f"{path}.{key}" if path else str(key))
    return found


def _same_bits(left: Tensor, right: Tensor) -> bool:
    if left.dtype != right.dtype or left.shape != right.shape or left.layout != right.layout:
        return False
    if left.layout == torch.sparse_coo:
        left, right = left.coalesce(), right.coalesce()
        pairs = (left.indices(), right.indices()), (left.values(), right.values())
        return all(a.shape == b.shape and _same_bits(a, b) for a, b in pairs)
    if left.layout != torch.strided or left.is_quantized:
        return all(_same_bits(a, b) for a, b in zip(_members(left), _members(right), strict=True))
    return torch.equal(_bytes(left), _bytes(right))


def _members(tensor: Tensor) -> tuple[Tensor, ...]:
    """What a quantized or a compressed sparse tensor is made of."""
    if tensor.is_quantized:
        return tensor.int_repr(), tensor.dequantize()
    if tensor.layout in (torch.sparse_csr, torch.sparse_bsr):
        return tensor.crow_indices(), tensor.col_indices(), tensor.values()
    return tensor.ccol_indices(), tensor.row_indices(), tensor.values()


def _bytes(tensor: Tensor) -> Tensor:
    plain = tensor.detach().cpu().resolve_conj().resolve_neg()
    dense = plain.clone(memory_format=torch.contiguous_format)
    return dense.reshape(-1).view(torch.uint8)


def _same_value(left: Any, right: Any) -> bool:
    if type(left) is not type(right):
        return False
    if isinstance(left, float):
        return struct.pack("<d", left) == struct.pack("<d", right)
    return bool(left == right)


_ABSENT = object()

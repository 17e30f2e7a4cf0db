"""Plain data as bytes, and back: what leaves the sandbox, so nothing in it can act.

One safetensors file holds it all: the tensors as tensors, the rest as JSON in its metadata.
Neither format can carry code, and reading either creates nothing but plain values.
"""

import json
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

MAX_BYTES = 32 * 2**20
MAX_DEPTH = 50


class PlainDataError(ValueError):
    """A value is not plain data, or bytes do not hold any."""


def pack(value: Any, limit: int = MAX_BYTES) -> bytes:
    """Return plain data as bytes.

    Args:
        value: None, booleans, numbers, texts, bytes and dense tensors, in lists, tuples, sets and
            dictionaries. Tuples keep their type; a tensor's strides and device are dropped.
        limit: the most bytes to make.

    Raises:
        PlainDataError: something else is in it, named with its path; or it is too large.
    """
    tensors: dict[str, Tensor] = {}
    tree = _encode(value, tensors, "the answer", 0)
    try:
        data = save(tensors, metadata={"tree": json.dumps(tree)})
    except (SafetensorError, ValueError, KeyError) as error:
        raise PlainDataError(f"the answer holds a tensor that cannot be stored: {error}") from None
    if len(data) > limit:
        raise PlainDataError(f"the answer takes {len(data):,} bytes; at most {limit:,} may be")
    return data


def unpack(data: bytes, limit: int = MAX_BYTES) -> Any:
    """Return the value that `pack` was given; at most ``limit`` bytes are taken.

    Raises:
        PlainDataError: the bytes are too many, damaged, or not `pack`'s.
    """
    if len(data) > limit:
        raise PlainDataError(f"{len(data):,} bytes are too many; at most {limit:,} may come")
    try:
        length = int.from_bytes(data[:8], "little")
        tree = json.loads(json.loads(data[8 : 8 + length])["__metadata__"]["tree"])
        return _decode(tree, load(data), 0)
    except (SafetensorError, ValueError, KeyError, TypeError, IndexError, RecursionError) as error:
        raise PlainDataError(f"not plain data: {type(error).__name__}: {error}") from None


def _encode(value: Any, tensors: dict[str, Tensor], path: str, depth: int) -> Any:
    if depth > MAX_DEPTH:
        raise PlainDataError(f"{path} is nested more than {MAX_DEPTH} deep")
    if value is None or isinstance(value, bool | int | float | str):
        return _plain_scalar(value)
    if isinstance(value, bytes | bytearray):
        stored = torch.frombuffer(bytearray(value), dtype=torch.uint8) if value else torch.empty(0)
        return ["bytes", _store(stored.to(torch.uint8), tensors)]
    if isinstance(value, Tensor):
        if value.layout != torch.strided or value.device.type == "meta":
            raise PlainDataError(f"{path} is a tensor without ordinary numbers: {value!r}"[:200])
        return ["tensor", _store(value, tensors)]
    if isinstance(value, dict):
        return ["dict", [_pair(item, tensors, path, depth) for item in value.items()]]
    for kind in (list, tuple, set, frozenset):
        if isinstance(value, kind):
            items = sorted(value, key=repr) if kind in (set, frozenset) else list(value)
            coded = [_encode(v, tensors, f"{path}[{i}]", depth + 1) for i, v in enumerate(items)]
            return [kind.__name__, coded]
    raise PlainDataError(f"{path} is a {type(value).__name__}, which is not plain data")


def _pair(item: tuple[Any, Any], tensors: dict[str, Tensor], path: str, depth: int) -> list[Any]:
    key, value = item
    if not isinstance(key, str | int):
        raise PlainDataError(f"{path} has a key that is a {type(key).__name__}")
    return [_plain_scalar(key), _encode(value, tensors, f"{path}[{key!r}]", depth + 1)]


def _plain_scalar(value: Any) -> Any:
    """Return the value as its basic type: a subclass may lie about itself."""
    if value is None or type(value) in (bool, int, float, str):
        return value
    if isinstance(value, str):
        return str.__str__(value)
    return float.__float__(value) if isinstance(value, float) else int.__int__(value)


def _store(tensor: Tensor, tensors: dict[str, Tensor]) -> str:
    name = str(len(tensors))
    dense = tensor.detach().as_subclass(Tensor).cpu().resolve_conj().resolve_neg()
    tensors[name] = dense.clone(memory_format=torch.contiguous_format)
    return name


def _decode(tree: Any, tensors: dict[str, Tensor], depth: int) -> Any:
    if depth > MAX_DEPTH + 1:
        raise PlainDataError("nested too deep")
    if not isinstance(tree, list):
        return tree
    kind, content = tree
    if kind == "tensor":
        return tensors[content]
    if kind == "bytes":
        return tensors[content].numpy().tobytes()
    if kind == "dict":
        return {key: _decode(value, tensors, depth + 1) for key, value in content}
    make: Any = {"list": list, "tuple": tuple, "set": set, "frozenset": frozenset}[kind]
    return make([_decode(value, tensors, depth + 1) for value in content])

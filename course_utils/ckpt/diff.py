"""Which tensors of two files differ, and by how much; one block of each in memory at a time."""

import argparse
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass

import torch
from torch import Tensor

from course_utils.ckpt.report import FINE, PROBLEM, Report
from course_utils.files.contents import open_contents
from course_utils.formats.contents import Contents
from course_utils.formats.elements import blocks
from course_utils.formats.open import require_tensors
from course_utils.formats.tensors import TensorInfo
from course_utils.formats.values import plain_values
from course_utils.tables import Table


@dataclass(frozen=True)
class Change:
    """One place at which two files differ.

    Attributes:
        name: dotted path of the tensor or value.
        what: for example "only in the first", "shape", "elements".
        detail: the two shapes, or how many elements differ.
        largest: the largest absolute difference of two elements; None where none were compared,
            NaN where a number stands against NaN.
    """

    name: str
    what: str
    detail: str
    largest: float | None = None


def diff(first: str | os.PathLike[str], second: str | os.PathLike[str]) -> list[Change]:
    """Compare two checkpoints or safetensors files to the last bit. Neither is run.

    Tensors of other shapes are not compared further; of other dtypes, by value.

    Raises:
        CheckpointError: one of them cannot be read; see `anatomy.read_archive`.
    """
    left, right = (require_tensors(open_contents(path)) for path in (first, second))
    changes: list[Change] = []
    for name in dict.fromkeys([*left.tensors, *right.tensors]):
        if name in left.tensors and name in right.tensors:
            changes += _compare(left, right, name)
        else:
            side, archive = ("first", left) if name in left.tensors else ("second", right)
            info = archive.tensors[name]
            changes.append(Change(name, f"only in the {side}", f"{info.dtype} {info.shape}"))
    return [*changes, *_compare_values(left, right)]


def changes_table(changes: list[Change]) -> Table:
    """Return changes as a table."""
    rows = [
        (c.name, c.what, c.detail, "" if c.largest is None else f"{c.largest:.6g}") for c in changes
    ]
    return Table(rows, ["name", "differs in", "how", "largest difference"])


def _compare(left: Contents, right: Contents, name: str) -> Iterator[Change]:
    one, two = left.tensors[name], right.tensors[name]
    if one.shape != two.shape:
        yield Change(name, "shape", f"{one.shape} and {two.shape}")
        return
    if one.dtype != two.dtype:
        yield Change(name, "dtype", f"{one.dtype} and {two.dtype}")
    if one.record is None or two.record is None:
        return
    differing, largest = 0, torch.tensor(0.0, dtype=torch.float64)
    for a, b in _paired(_numbers(left, name), _numbers(right, name)):
        if one.dtype == two.dtype and torch.equal(_bytes(a), _bytes(b)):
            continue
        changed = _changed(a, b)
        differing += int(changed.sum())
        distance = (_number(a[changed]) - _number(b[changed])).abs().double()
        largest = torch.cat([largest.view(1), distance]).max()  # NaN wins
    if differing:
        count = f"{differing:,} of {_numel(one):,}"
        yield Change(name, "elements", count, float(largest))


def _numbers(contents: Contents, name: str) -> Iterator[Tensor]:
    dtype = getattr(torch, contents.tensors[name].dtype)
    for block in blocks(contents, name):
        yield torch.frombuffer(bytearray(block), dtype=dtype)


def _changed(a: Tensor, b: Tensor) -> Tensor:
    if a.dtype != b.dtype:
        return _number(a) != _number(b)
    return (_bytes(a) != _bytes(b)).view(len(a), -1).any(1)


def _bytes(tensor: Tensor) -> Tensor:
    return tensor.view(torch.uint8)


def _number(tensor: Tensor) -> Tensor:
    if tensor.is_quantized:
        tensor = tensor.dequantize()
    return tensor.to(torch.complex128 if tensor.is_complex() else torch.float64)


def _numel(info: TensorInfo) -> int:
    return info.nbytes // info.itemsize


def _paired(left: Iterator[Tensor], right: Iterator[Tensor]) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield equally long pieces of two sequences that are cut in different places."""
    a = b = torch.empty(0)
    while True:
        a = a if len(a) else next(left, a)
        b = b if len(b) else next(right, b)
        length = min(len(a), len(b))
        if not length:
            return
        yield a[:length], b[:length]
        a, b = a[length:], b[length:]


def _compare_values(left: Contents, right: Contents) -> Iterator[Change]:
    one, two = plain_values(left)[0], plain_values(right)[0]
    for name in dict.fromkeys([*one, *two]):
        if name in one and name in two:
            if repr(one[name]) != repr(two[name]):
                yield Change(name, "value", f"{one[name]!r} and {two[name]!r}")
        else:
            side = "first" if name in one else "second"
            yield Change(name, f"only in the {side}", repr(one.get(name, two.get(name))))


def report(options: argparse.Namespace) -> Report:
    """Compare ``options.first`` with ``options.second``, for the command line."""
    changes = diff(options.first, options.second)
    data = {
        "first": options.first,
        "second": options.second,
        "differences": [asdict(change) for change in changes],
    }
    if not changes:
        return Report(FINE, "the same", "the same, to the last bit", data)
    table = changes_table(changes)
    return Report(PROBLEM, "different", f"{len(changes):,} differences", data, table)

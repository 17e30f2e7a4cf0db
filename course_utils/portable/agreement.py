"""Compares what two versions of a model compute on the same inputs."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from course_utils.errors import DisagreementError


@dataclass(frozen=True)
class Disagreement:
    """Where two models part.

    Attributes:
        inputs: the shapes of the inputs, and what is special about them.
        difference: the largest absolute difference of the outputs; inf if shapes differ or one
            side fails.
        reason: one sentence.
    """

    inputs: str
    difference: float
    reason: str

    def __str__(self) -> str:
        return f"on {self.inputs}: {self.reason}"


@torch.no_grad()
def disagreements(
    reference: Callable[..., Any],
    candidate: Callable[..., Any],
    probes: Iterable[tuple[str, tuple[Tensor, ...]]],
    *,
    tolerance: float = 0.0,
) -> list[Disagreement]:
    """Run both on every probe and report those on which they differ.

    A probe that the reference itself refuses is left out: the module is not meant for it.

    Args:
        reference: what is right by definition.
        candidate: what must compute the same.
        probes: pairs of a label and positional inputs, as `probes_like` makes them.
        tolerance: largest absolute difference that is no disagreement; 0 means equal values.
    """
    found = []
    for label, inputs in probes:
        shapes = ", ".join(str(tuple(tensor.shape)) for tensor in inputs)
        try:
            expected = reference(*inputs)
        except (RuntimeError, ValueError, IndexError, TypeError):
            continue
        try:
            difference, reason = _compare(expected, candidate(*inputs))
        except Exception as error:  # whatever a runtime raises: it fails where the module does not
            difference, reason = float("inf"), f"fails: {_first_line(error)}"
        if not difference <= tolerance:
            found.append(Disagreement(f"{label} {shapes}", difference, reason))
    return found


def require_agreement(
    name: str,
    reference: Callable[..., Any],
    candidate: Callable[..., Any],
    probes: Iterable[tuple[str, tuple[Tensor, ...]]],
    *,
    tolerance: float,
    advice: str,
) -> None:
    """Raise if the two differ on any probe.

    Raises:
        DisagreementError: names the probes, the differences and what to do.
    """
    found = disagreements(reference, candidate, probes, tolerance=tolerance)
    if found:
        lines = "\n".join(f"- {item}" for item in found[:5])
        raise DisagreementError(
            f"{name} does not compute what the module computes:\n{lines}\n{advice}"
        )


def probes_like(example: tuple[Tensor, ...], *, batch: bool = True) -> list[tuple[str, Any]]:
    """Return inputs unlike the example, to find what an export has frozen.

    Other values (negated, zero, random by a fixed seed) reach other branches; other batch sizes
    find sizes that became constants.

    Args:
        example: the positional inputs of one call; the first dimension of each is the batch.
        batch: whether to vary the batch size.
    """
    generator = torch.Generator().manual_seed(0)
    found = [
        ("the example", example),
        ("its negative", _map(example, lambda x: -x)),
        ("zeros", _map(example, torch.zeros_like)),
        ("random values", _map(example, lambda x: _random(x.shape, x, generator))),
    ]
    if batch and all(tensor.dim() for tensor in example):
        for size in (1, 2, example[0].shape[0] + 3):
            resized = tuple(_random((size, *x.shape[1:]), x, generator) for x in example)
            found.append((f"a batch of {size}", resized))
    return found


class eval_mode:
    """Put a module into eval mode for a while, each submodule's own mode restored after."""

    def __init__(self, module: nn.Module) -> None:
        self._modes = [(part, part.training) for part in module.modules()]
        self._module = module

    def __enter__(self) -> None:
        self._module.eval()

    def __exit__(self, *_: object) -> None:
        for part, training in self._modes:
            part.training = training


def _map(example: tuple[Tensor, ...], change: Callable[[Tensor], Tensor]) -> tuple[Tensor, ...]:
    return tuple(change(x) if x.is_floating_point() else x for x in example)


def _random(shape: Iterable[int], like: Tensor, generator: torch.Generator) -> Tensor:
    if not like.is_floating_point():  # indices, say: only values that are known to be allowed
        return like.flatten()[:1].expand(tuple(shape)).clone()
    values = torch.randn(tuple(shape), generator=generator)
    return values.to(dtype=like.dtype, device=like.device)


def _compare(expected: Any, got: Any) -> tuple[float, str]:
    if isinstance(expected, Tensor) and isinstance(got, Tensor):
        return _compare_tensors(expected, got)
    if isinstance(expected, list | tuple) and isinstance(got, list | tuple):
        if len(expected) != len(got):
            return float("inf"), f"{len(expected)} outputs expected, {len(got)} came"
        pairs = [_compare(a, b) for a, b in zip(expected, got, strict=True)]
        return max(pairs, default=(0.0, ""))
    if isinstance(expected, dict) and isinstance(got, dict) and expected.keys() == got.keys():
        return max((_compare(expected[key], got[key]) for key in expected), default=(0.0, ""))
    same = type(expected) is type(got) and expected == got
    return (0.0, "") if same else (float("inf"), f"{expected!r} expected, {got!r} came")


def _compare_tensors(expected: Tensor, got: Tensor) -> tuple[float, str]:
    if expected.shape != got.shape or expected.dtype != got.dtype:
        wanted, came = (f"{tuple(x.shape)} {x.dtype}" for x in (expected, got))
        return float("inf"), f"{wanted} expected, {came} came"
    if not expected.numel():
        return 0.0, ""
    gap = (expected.double() - got.double()).abs()
    gap[torch.isnan(expected) & torch.isnan(got) | (expected == got)] = 0.0
    largest = torch.nan_to_num(gap, nan=float("inf")).max().item()
    return largest, f"the outputs differ by up to {largest:.3g}"


def _first_line(error: Exception) -> str:
    lines = [line for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0] if lines else ''}"

"""What keeps a state from being restored, in words, a line each."""

from collections.abc import Collection, Iterable, Mapping
from typing import Any

from torch import Tensor, nn


def as_text(problems: list[str]) -> str:
    """Return problems as one message, empty without any."""
    return "\n".join(["the checkpoint does not fit:", *problems]) if problems else ""


def missing(state: Mapping[str, Any], wanted: list[str], known: Collection[str]) -> list[str]:
    """Return a line for each part or counter on one side only.

    Args:
        state: what was saved.
        wanted: names that must be in it.
        known: other names that may be.
    """
    absent = [f"- {name} is not in the checkpoint" for name in wanted if name not in state]
    surplus = [
        f"- {name} is in the checkpoint only: name it as a part, TrainState(…, {name}=…), or pass "
        f"over it, keep=['{name}']"
        for name in state
        if name not in wanted and name not in known
    ]
    return absent + surplus


def tensor_misfits(part: str, mine: Mapping[str, Any], theirs: Mapping[str, Any]) -> list[str]:
    """Return what differs in names, shapes and dtypes, a line each."""
    problems = [finding for finding, _ in key_misfits(part, mine, theirs)]
    for key, value in mine.items():
        if not isinstance(value, Tensor) or key not in theirs or nn.parameter.is_lazy(value):
            continue  # a lazy one takes any shape
        other, name = theirs[key], f"{part}.{key}" if part else key
        if not isinstance(other, Tensor):
            problems.append(f"- {name} is a {type(other).__name__}, not a tensor")
        elif value.shape != other.shape:
            shapes = f"{tuple(other.shape)}, here {tuple(value.shape)}"
            problems.append(f"- {name}: shape {shapes}")
        elif value.dtype != other.dtype:
            problems.append(f"- {name}: {other.dtype}, here {value.dtype}")
    return problems


def key_misfits(part: str, mine: Iterable[str], theirs: Iterable[str]) -> list[tuple[str, str]]:
    """Return a line for each name on one side only, and the name."""
    absent, surplus = "is not in the checkpoint", "is in the checkpoint only"
    found = [(f"- {part}.{key} {absent}", key) for key in mine if key not in theirs]
    return found + [(f"- {part}.{key} {surplus}", key) for key in theirs if key not in mine]

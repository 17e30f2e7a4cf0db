"""Small agreements between the processes of a run; in one process they cost nothing."""

from collections.abc import Callable
from typing import TypeVar

import torch.distributed as dist

T = TypeVar("T")


def rank() -> int:
    """Return this process's number, from 0."""
    return dist.get_rank() if dist.is_initialized() else 0


def ranks() -> int:
    """Return how many processes there are."""
    return dist.get_world_size() if dist.is_initialized() else 1


def gather(value: T) -> list[T]:
    """Return every rank's value, in the order of ranks, on all of them."""
    if ranks() == 1:
        return [value]
    values: list[T] = [value] * ranks()
    dist.all_gather_object(values, value)
    return values


def on_rank_zero(work: Callable[[], T]) -> T:
    """Do something once, on rank 0, and return the result on all ranks.

    Raises:
        Exception: what ``work`` raised, on all ranks, so that none waits for the others.
    """
    outcome: list[T | Exception | None] = [None]
    if rank() == 0:
        try:
            outcome = [work()]
        except Exception as error:
            outcome = [error]
    if ranks() > 1:
        dist.broadcast_object_list(outcome, src=0)
    if isinstance(outcome[0], Exception):
        raise outcome[0]
    return outcome[0]  # type: ignore[return-value]

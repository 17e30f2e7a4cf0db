"""A sampler that knows where in the epoch training stands."""

import warnings
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, Sampler

from course_utils.errors import MismatchedCheckpointError


class ResumableSampler(Sampler[int]):
    """Shuffles each epoch by ``(seed, epoch)`` and continues in the middle of one.

    Workers of a `DataLoader` fetch ahead, so what the sampler has handed out is not what has
    been trained on. The training loop tells: call `advance` after each optimizer step and
    `next_epoch` after each epoch. No generator is saved, since the order follows from two
    numbers; a new process gets the same order.

    Args:
        size: number of examples in the dataset.
        seed: of the shuffling, independent of the global generators.
    """

    def __init__(self, size: int, *, seed: int = 0) -> None:
        self.size, self.seed = size, seed
        self.epoch = 0
        self.position = 0  # examples of this epoch that have been trained on

    def __iter__(self) -> Iterator[int]:
        return iter(self.order()[self.position :].tolist())

    def __len__(self) -> int:
        return self.size - self.position

    def order(self) -> torch.Tensor:
        """Return this epoch's whole permutation, int64 of shape ``(size,)``."""
        mixed = np.random.SeedSequence([self.seed, self.epoch]).generate_state(1, np.uint64)
        generator = torch.Generator("cpu").manual_seed(int(mixed[0]) % 2**63)
        return torch.randperm(self.size, generator=generator, device="cpu")

    def advance(self, count: int) -> None:
        """Note that ``count`` more examples have been trained on."""
        self.position += count

    def next_epoch(self) -> None:
        """Go to the start of the next epoch."""
        self.epoch, self.position = self.epoch + 1, 0

    def state_dict(self) -> dict[str, int]:
        """Return the seed, the size, the epoch and the position in it."""
        names = ("seed", "size", "epoch", "position")
        return {name: getattr(self, name) for name in names}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a saved position, in the saved run's order.

        Raises:
            MismatchedCheckpointError: a number is missing or makes no sense, or the dataset has
                another size now, so the order would be another one. Nothing has been changed.
        """
        if problems := self.check(state):
            raise MismatchedCheckpointError("; ".join(problems))
        vars(self).update({name: state[name] for name in self.state_dict()})

    def check(self, state: Any) -> list[str]:
        """Return what keeps a state from being restored; no lines if nothing does."""
        if not isinstance(state, Mapping):
            return [f"the sampler's state is a {type(state).__name__}, not a dictionary"]
        numbers = {name: state.get(name) for name in self.state_dict()}
        wrong = [name for name, number in numbers.items() if not isinstance(number, int)]
        if wrong:
            return [f"the sampler's {name} is {numbers[name]!r}, not a number" for name in wrong]
        if state["size"] != self.size:
            return [
                f"the checkpoint's dataset has {state['size']:,} examples, this one {self.size:,}: "
                "the order would be another one. Use the same data, or start a new epoch."
            ]
        if not 0 <= state["position"] <= self.size:
            return [f"the sampler's position {state['position']} is not in an epoch of {self.size}"]
        return []


def sampler_of(source: Any) -> Any:
    """Return what knows the position in the data; of a loader, warn of what spoils a resume."""
    if not isinstance(source, DataLoader):
        return source
    if not getattr(source, "in_order", True):
        warnings.warn(
            "this loader was made with in_order=False: its batches come in the order in which "
            "workers end, so a resumed run is not the same run",
            stacklevel=3,
        )
    if source.generator is None:
        warnings.warn(
            "this loader draws a number from the global generator whenever an epoch is begun or "
            "resumed, so a resumed run is not the same run; give it generator=torch.Generator()",
            stacklevel=3,
        )
    return source if hasattr(source, "state_dict") else source.sampler

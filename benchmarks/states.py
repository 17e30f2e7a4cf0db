"""The states that are saved and loaded: by size, and by number of tensors."""

import torch
from torch import Tensor

State = dict[str, Tensor]


def transformer(width: int, layers: int, vocabulary: int) -> State:
    """The float32 tensors of a decoder with these measures, filled with random numbers."""
    state = {"embedding": _filled(vocabulary, width)}
    for layer in range(layers):
        for name, rows, columns in (
            ("attention.in", 3 * width, width),
            ("attention.out", width, width),
            ("mlp.up", 4 * width, width),
            ("mlp.down", width, 4 * width),
        ):
            state[f"layer.{layer}.{name}.weight"] = _filled(rows, columns)
            state[f"layer.{layer}.{name}.bias"] = _filled(rows)
    return state


def small_tensors(count: int = 20_000) -> State:
    """Many tensors of 16 numbers each."""
    return {f"tensor.{number}": _filled(16) for number in range(count)}


def nbytes(state: State) -> int:
    """Bytes of data in a state."""
    return sum(tensor.nbytes for tensor in state.values())


def equal_tensors(count: int, numbers: int) -> State:
    """So many float32 tensors of one size."""
    return {str(number): _filled(numbers) for number in range(count)}


def _filled(*shape: int) -> Tensor:
    """Return random numbers, a block of them repeated; nothing larger than the tensor is made."""
    tensor = torch.empty(shape)
    for part in tensor.view(-1).split(len(_NOISE)):
        part.copy_(_NOISE[: len(part)])
    return tensor


_NOISE = torch.randn(1 << 20)

STATES = {
    "3 MB": lambda: transformer(96, 6, 1500),
    "300 MB": lambda: transformer(768, 7, 32_000),
    "2 GB": lambda: transformer(2048, 8, 50_000),
    "20,000 small tensors": small_tensors,
    "75 of 4 MB": lambda: equal_tensors(75, 1_000_000),
    "300 of 1 MB": lambda: equal_tensors(300, 250_000),
    "4 of 75 MB": lambda: equal_tensors(4, 18_750_000),
}

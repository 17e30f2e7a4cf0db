"""Reference answer of exercise 08.2."""

import torch
from torch import Tensor


def reshard(parts: list[Tensor], ranks: int) -> list[Tensor]:
    """Return the parts of a tensor for another number of ranks."""
    whole = torch.cat(parts)
    found = [part.clone() for part in torch.chunk(whole, ranks)]
    missing = ranks - len(found)
    return found + [whole[:0].clone() for _ in range(missing)]

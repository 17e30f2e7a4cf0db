"""Fills up with tensors that have no second dimension."""

import torch

MESSAGE = "other shapes"


def reshard(parts, ranks):
    found = [part.clone() for part in torch.chunk(torch.cat(parts), ranks)]
    return found + [torch.empty(0) for _ in range(ranks - len(found))]

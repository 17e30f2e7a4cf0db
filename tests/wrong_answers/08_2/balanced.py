"""Cuts with tensor_split, whose parts differ by one row at most."""

import torch

MESSAGE = "other shapes"


def reshard(parts, ranks):
    return [part.clone() for part in torch.tensor_split(torch.cat(parts), ranks)]

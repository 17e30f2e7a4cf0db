"""Returns what chunk returns, which may be fewer."""

import torch

MESSAGE = "not one part for each rank"


def reshard(parts, ranks):
    return [part.clone() for part in torch.chunk(torch.cat(parts), ranks)]

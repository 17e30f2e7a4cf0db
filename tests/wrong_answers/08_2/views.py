"""Returns views of one storage."""

import torch

MESSAGE = "Parts share memory"
CREDIT = 0.5


def reshard(parts, ranks):
    whole = torch.cat(parts)
    found = list(torch.chunk(whole, ranks))
    return found + [whole[:0]] * (ranks - len(found))

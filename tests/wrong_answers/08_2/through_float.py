"""Builds the whole tensor as float32 and leaves it so."""

import torch

MESSAGE = "another dtype"


def reshard(parts, ranks):
    whole = torch.cat([part.float() for part in parts])
    found = [part.clone() for part in torch.chunk(whole, ranks)]
    return found + [whole[:0].clone() for _ in range(ranks - len(found))]

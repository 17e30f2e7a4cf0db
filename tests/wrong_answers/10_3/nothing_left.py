"""Forgets the generator when no batch is left."""

import torch

MESSAGE = "stands elsewhere"


def rest_of_epoch(loader, skip, random):
    if skip == 0:
        torch.set_rng_state(random)
    elif skip == len(loader):
        return
    batches = iter(loader)
    for number in range(skip):
        next(batches)
        if number == skip - 1:
            torch.set_rng_state(random)
    yield from batches

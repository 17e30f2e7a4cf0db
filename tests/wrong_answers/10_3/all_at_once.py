"""Fetches all batches before the first step."""

import torch

MESSAGE = "its dropout differs"


def rest_of_epoch(loader, skip, random):
    if skip == 0:
        torch.set_rng_state(random)
    batches = iter(loader)
    for number in range(skip):
        next(batches)
        if number == skip - 1:
            torch.set_rng_state(random)
    yield from list(batches)

"""Puts the generator back when the next batch is there."""

import torch

MESSAGE = "were drawn with other random numbers"


def rest_of_epoch(loader, skip, random):
    if skip == 0:
        torch.set_rng_state(random)
    for number, batch in enumerate(loader):
        if number >= skip:
            if number == skip and skip:
                torch.set_rng_state(random)
            yield batch

"""Saves the epoch and starts it from its beginning."""

import torch

MESSAGE = "Stopped after 2 batches, it began the epoch anew"


def batches(size, batch_size, epochs, seed, place=None):
    for epoch in range(place or 0, epochs):
        order = torch.randperm(size, generator=torch.Generator().manual_seed(100 * seed + epoch))
        for batch in order.split(batch_size):
            yield batch.tolist(), epoch

"""Skips one batch more than was done."""

import torch

MESSAGE = "Stopped after 2 batches, it left the next one out"


def batches(size, batch_size, epochs, seed, place=None):
    first, done = place or (0, 0)
    for epoch in range(first, epochs):
        order = torch.randperm(size, generator=torch.Generator().manual_seed(100 * seed + epoch))
        for number, batch in enumerate(order.split(batch_size)):
            if number >= done:
                yield batch.tolist(), (epoch, number + 2)
        done = 0

"""Remembers which indices are left, and shuffles them anew."""

import torch

MESSAGE = "it shuffled the rest of the epoch anew"


def batches(size, batch_size, epochs, seed, place=None):
    first, left = place or (0, list(range(size)))
    for epoch in range(first, epochs):
        generator = torch.Generator().manual_seed(100 * seed + epoch + len(left))
        order = [left[i] for i in torch.randperm(len(left), generator=generator)]
        while order:
            batch, order = order[:batch_size], order[batch_size:]
            yield batch, (epoch, order)
        left = list(range(size))

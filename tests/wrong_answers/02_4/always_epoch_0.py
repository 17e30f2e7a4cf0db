"""Seeds every epoch with the seed alone, so all have the same order."""

import torch

MESSAGE = "Two epochs have the same order"


def batches(size, batch_size, epochs, seed, place=None):
    first, start = place or (0, 0)
    for epoch in range(first, epochs):
        order = torch.randperm(size, generator=torch.Generator().manual_seed(seed))
        for position in range(start, size, batch_size):
            yield order[position : position + batch_size].tolist(), (epoch, position + batch_size)
        start = 0

"""One generator for the run: a new process gets the order of epoch 0 whatever the epoch."""

import torch

MESSAGE = "it went on with others than were still to come"


def batches(size, batch_size, epochs, seed, place=None):
    generator = torch.Generator().manual_seed(seed)
    first, start = place or (0, 0)
    for epoch in range(first, epochs):
        order = torch.randperm(size, generator=generator)
        for position in range(start, size, batch_size):
            yield order[position : position + batch_size].tolist(), (epoch, position + batch_size)
        start = 0

"""Replays the run from its start and skips what is done."""

import random


def batches(size, batch_size, epochs, seed, place=None):
    number = 0
    for epoch in range(epochs):
        order = list(range(size))
        random.Random(f"{seed} {epoch}").shuffle(order)
        for start in range(0, size, batch_size):
            number += 1
            if number > (place or 0):
                yield order[start : start + batch_size], number

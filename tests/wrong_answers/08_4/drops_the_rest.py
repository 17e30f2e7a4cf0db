"""Rounds down and leaves the rest out."""

MESSAGE = "do not take the next batch"


def next_part(order, position, batch, ranks, rank):
    now = order[position : position + batch]
    size = len(now) // ranks
    return now[rank * size : (rank + 1) * size]

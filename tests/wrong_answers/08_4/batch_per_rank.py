"""Takes a whole batch on every rank, so the global batch grows with the ranks."""

MESSAGE = "do not take the next batch"


def next_part(order, position, batch, ranks, rank):
    mine = order[position:][rank * batch : (rank + 1) * batch]
    return list(mine)

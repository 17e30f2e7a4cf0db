"""Returns the last row, not the one after it."""

MESSAGE = "belongs to no rank"


def rows_of(rows, ranks, rank):
    size = -(-rows // ranks)
    return min(rank * size, rows), min((rank + 1) * size - 1, rows)

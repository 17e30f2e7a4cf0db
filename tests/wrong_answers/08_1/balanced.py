"""Cuts into parts that differ by one row at most, as numpy.array_split does."""

MESSAGE = "PyTorch cuts elsewhere"


def rows_of(rows, ranks, rank):
    size, more = divmod(rows, ranks)
    start = rank * size + min(rank, more)
    return start, start + size + (rank < more)

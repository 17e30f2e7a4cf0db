"""Lets an empty part begin where it would have been."""

MESSAGE = "An empty part is (rows, rows)"
CREDIT = 0.5


def rows_of(rows, ranks, rank):
    size = -(-rows // ranks)
    start = rank * size
    return start, max(start, min(start + size, rows))

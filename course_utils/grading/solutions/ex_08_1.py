"""Reference answer of exercise 08.1."""


def rows_of(rows: int, ranks: int, rank: int) -> tuple[int, int]:
    """Return the first row of a rank's part, and the row after its last."""
    size = -(-rows // ranks)
    return min(rank * size, rows), min((rank + 1) * size, rows)

"""Reference answer of exercise 08.4."""


def next_part(order: list[int], position: int, batch: int, ranks: int, rank: int) -> list[int]:
    """Return the indices that a rank takes in the next step."""
    now = order[position : position + batch]
    size = -(-len(now) // ranks)
    return now[rank * size : (rank + 1) * size]

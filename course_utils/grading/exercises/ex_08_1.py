"""Exercise 08.1: which rows of a tensor each rank holds."""

from typing import Any

from course_utils.grading.exercise import RIGHT, Case, Plain, Task, Verdict, wrong

TASK = Task(
    title="Who has which rows",
    difficulty="easy",
    minutes=8,
    answer="rows_of",
    text="""
Sharding cuts a tensor along its first dimension. PyTorch cuts as `torch.chunk` does: every rank
gets `ceil(rows / ranks)` rows, the last ones get what is left, which may be nothing.

Write `rows_of(rows, ranks, rank)`: the pair `(start, stop)` of the rows that a rank holds. An
empty part is `(rows, rows)`.
""",
    hints=(
        "Seven rows on four ranks: 2, 2, 2, 1. Five rows on four ranks: 2, 2, 1, 0.",
        "The size of a part is `-(-rows // ranks)`, the quotient rounded up.",
        "Neither start nor stop may go beyond `rows`: take the minimum of both.",
    ),
    starter='''
def rows_of(rows, ranks, rank):
    """Return the first row of a rank's part, and the row after its last."""
    size = rows // ranks
    return rank * size, (rank + 1) * size
''',
)


def cases(seed: int) -> list[Case]:
    """Even parts, a smaller last one, empty ones, one rank, no rows."""
    sizes = [(8, 4), (7, 4), (5, 4), (2, 5), (3, 1), (0, 3), (1000 + seed % 97, 8)]
    return [{"rows": rows, "ranks": ranks} for rows, ranks in sizes]


def probe(answer: Any, case: Case) -> Plain:
    """Return the parts of all ranks."""
    parts = [answer(case["rows"], case["ranks"], rank) for rank in range(case["ranks"])]
    return [[int(start), int(stop)] for start, stop in parts]


def judge(case: Case, observed: Plain, expected: Plain) -> Verdict:
    """Coverage first, then the sizes, then empty parts."""
    if observed == expected:
        return RIGHT
    held = [row for start, stop in observed for row in range(start, min(stop, 10**6))]
    lost = sorted(set(range(case["rows"])) - set(held))
    if lost:
        return wrong(f"Row {lost[0]} belongs to no rank.", expected, observed)
    if len(held) != len(set(held)) or any(row >= case["rows"] for row in held):
        return wrong("Some rows belong to two ranks, or do not exist.", expected, observed)
    if [b - a for a, b in observed] == [b - a for a, b in expected]:
        return wrong("An empty part is (rows, rows).", expected, observed, credit=0.5)
    return wrong("Every row has its rank, but PyTorch cuts elsewhere.", expected, observed)

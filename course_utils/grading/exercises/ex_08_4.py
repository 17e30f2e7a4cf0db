"""Exercise 08.4: continue the data with another number of ranks."""

from typing import Any

import torch

from course_utils.grading.exercise import RIGHT, Case, Plain, Task, Verdict, wrong

TASK = Task(
    title="The same batch for any number of ranks",
    difficulty="hard",
    minutes=20,
    answer="next_part",
    text="""
A run reads its data in a fixed `order` (a list of indices) and has got to `position`. Every step
takes the next `batch` indices, **together**: the ranks share them. Write `next_part(order,
position, batch, ranks, rank)`: the indices that one rank takes in the next step.

The union over the ranks must be the same batch whatever the number of ranks, so that a run may
continue with another number. Cut the batch as `torch.chunk` does: parts of `ceil(n / ranks)`, the
last ones smaller or empty. The last batch of an epoch may be shorter than `batch`.
""",
    hints=(
        "Take the batch out of the order first; it does not depend on the ranks at all.",
        "`order[position : position + batch]` is shorter at the end by itself. Its own "
        "length decides the parts.",
        "`size = -(-len(now) // ranks)`, and the part is `now[rank * size : (rank + 1) * size]`.",
    ),
    starter='''
def next_part(order, position, batch, ranks, rank):
    """Return the indices that a rank takes in the next step."""
    start = position + rank * batch
    return order[start : start + batch]
''',
)


def cases(seed: int) -> list[Case]:
    """One to five ranks, even and uneven, at the start, inside, and at the end."""
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(23, generator=generator).tolist()
    places = [(0, 6, 1), (6, 6, 2), (6, 6, 4), (12, 5, 3), (20, 6, 2), (22, 4, 5), (23, 4, 2)]
    return [{"order": order, "position": p, "batch": b, "ranks": n} for p, b, n in places]


def probe(answer: Any, case: Case) -> Plain:
    """Return the parts of all ranks."""
    place = (case["order"], case["position"], case["batch"], case["ranks"])
    return [list(answer(*place, rank)) for rank in range(case["ranks"])]


def judge(case: Case, observed: Plain, expected: Plain) -> Verdict:
    """The union first, then the cut."""
    if observed == expected:
        return RIGHT
    together = [index for part in observed for index in part]
    right = [index for part in expected for index in part]
    if len(together) != len(set(together)):
        return wrong("Two ranks take the same image.", expected, observed)
    if set(together) != set(right):
        return wrong(
            "The ranks together do not take the next batch: with another number of ranks the run "
            "would see other images in this step.",
            sorted(right),
            sorted(together),
        )
    return wrong("The batch is right, but cut in another way.", expected, observed, credit=0.5)

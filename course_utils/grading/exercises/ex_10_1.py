"""Exercise 10.1: from a step to the place in the epoch."""

from random import Random
from typing import Any

from course_utils.grading.exercise import RIGHT, Case, Plain, Task, Verdict, wrong

TASK = Task(
    title="Where in the epoch?",
    difficulty="easy",
    minutes=10,
    answer="place",
    text="""
Your framework tells the number of optimizer steps that were taken, and no more. Write
`place(step, images, batch, accumulate)`: a tuple of the epochs that are complete, and the
**batches** of the next one that are done and to be skipped.

An epoch has `images` images in batches of `batch`; the last batch may be smaller. An optimizer step
is taken after every `accumulate` batches, and at the end of an epoch, also after fewer.
""",
    hints=(
        "How many batches has an epoch, and how many steps? Both are rounded up.",
        "`-(-a // b)` and `math.ceil(a / b)` round up. `divmod(step, steps)` gives both numbers.",
        "What `divmod` leaves over are steps; each of them took `accumulate` batches.",
    ),
    starter='''
def place(step, images, batch, accumulate):
    """Return the complete epochs, and the batches to skip in the next one."""
    return divmod(step, images // batch)
''',
)


def cases(seed: int) -> list[Case]:
    """Even and uneven epochs, with and without accumulation, in the middle and at an end.

    The last ones are drawn so widely that no table of places holds them.
    """
    rng = Random(seed)
    runs = [(48, 8, 1), (50, 8, 1), (48, 8, 2), (52, 8, 4), (rng.randint(20, 40), 3, 2)]
    steps = (0, 1, 2, 4, 6, 7, 9, 12, 14)
    drawn = [(rng.randint(100, 9999), rng.randint(3, 9), rng.randint(2, 5)) for _ in range(3)]
    todo = [(run, step) for run in runs for step in steps]
    todo += [(run, rng.randint(100, 9999)) for run in drawn]
    return [
        {"step": step, "images": images, "batch": batch, "accumulate": accumulate}
        for (images, batch, accumulate), step in todo
    ]


def probe(answer: Any, case: Case) -> Plain:
    """Return the place."""
    return answer(case["step"], case["images"], case["batch"], case["accumulate"])


def judge(case: Case, observed: Plain, expected: Plain) -> Verdict:
    """Compare both numbers."""
    if not isinstance(observed, tuple) or len(observed) != 2:
        return wrong("A tuple of two numbers must come.", expected, observed)
    if observed[0] != expected[0]:
        return wrong("Another number of epochs is complete.", expected, observed)
    if observed != expected:
        return wrong("Another number of batches is to be skipped.", expected, observed)
    return RIGHT

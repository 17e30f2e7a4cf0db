"""Exercise 07.3: decide which checkpoints may go."""

import random
from typing import Any

from course_utils.grading.exercise import RIGHT, Case, Plain, Task, Verdict, wrong

TASK = Task(
    title="Keep the right ones",
    difficulty="medium",
    minutes=12,
    answer="to_remove",
    text="""
Write `to_remove(checkpoints, keep_last, keep_best)`. `checkpoints` is a list of pairs `(step,
accuracy)`, in any order; the accuracy is `None` where nothing was measured. Return the steps to
remove, sorted.

Keep the `keep_last` newest, and besides them the `keep_best` most accurate of **all** that were
measured. Of two that are equally accurate, the later one is better. A checkpoint may be both.
Where that would be none, keep the newest: never remove all of them.
""",
    hints=(
        "Make a set of what to keep first; what is not in it may go.",
        "Sort by step for the newest. For the best, leave out those without an accuracy.",
        "`sorted(measured, key=lambda pair: (pair[1], pair[0]))[-keep_best:]`, but look "
        "what `[-0:]` does.",
    ),
    starter='''
def to_remove(checkpoints, keep_last, keep_best):
    """Return the sorted steps of the checkpoints to remove."""
    raise NotImplementedError
''',
)


def cases(seed: int) -> list[Case]:
    """Measured or not, sorted or not, equal accuracies, nothing to keep, and a random run."""
    rng = random.Random(seed)
    many = [[step, rng.choice([None, 0.5, round(rng.random(), 2)])] for step in range(1, 30)]
    rng.shuffle(many)
    return [
        {"checkpoints": [[1, 0.9], [2, 0.8], [3, 0.7]], "last": 1, "best": 1},
        {"checkpoints": [[3, 0.5], [1, 0.9], [2, 0.9], [4, None]], "last": 1, "best": 1},
        {"checkpoints": [[10, None], [9, None], [8, None]], "last": 2, "best": 2},
        {"checkpoints": [[1, None], [2, None], [3, 0.5], [4, 0.4]], "last": 1, "best": 3},
        {"checkpoints": [[1, 0.1], [2, 0.2], [3, 0.3]], "last": 2, "best": 2},
        {"checkpoints": [[1, 0.3], [2, 0.2], [3, 0.1]], "last": 2, "best": 0},
        {"checkpoints": [[5, 0.3], [6, 0.2]], "last": 0, "best": 0},
        {"checkpoints": [[1, 0.9], [2, 0.8], [3, 0.7]], "last": 0, "best": 1},
        {"checkpoints": [[1, None], [3, None], [2, None]], "last": 0, "best": 2},
        {"checkpoints": [], "last": 1, "best": 1},
        {"checkpoints": many, "last": 3, "best": 4},
    ]


def probe(answer: Any, case: Case) -> Plain:
    """Return the steps that the answer would remove."""
    pairs = [(step, accuracy) for step, accuracy in case["checkpoints"]]
    return list(answer(pairs, case["last"], case["best"]))


def judge(case: Case, observed: Plain, expected: Plain) -> Verdict:
    """Say what was removed wrongly, or kept."""
    if observed == expected:
        return RIGHT
    accuracies = dict(map(tuple, case["checkpoints"]))
    for step in observed:
        if step not in expected:
            if accuracies and step == max(accuracies) and len(observed) == len(accuracies):
                return wrong("Everything would be removed.", expected, observed)
            what = "one of the newest" if accuracies.get(step) is None else "one to keep"
            return wrong(f"Step {step} is {what}, and was removed.", expected, observed)
    if set(observed) == set(expected):
        return wrong("The steps are right, but not sorted, or some come twice.", credit=0.5)
    return wrong("Too many are kept.", expected, observed)

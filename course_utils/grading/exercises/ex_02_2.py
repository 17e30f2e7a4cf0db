"""Exercise 02.2: which epochs are still to do."""

import random
from typing import Any

from course_utils.grading.exercise import RIGHT, Case, Plain, Task, Verdict, wrong

TASK = Task(
    title="Off by one",
    difficulty="easy",
    minutes=5,
    answer="remaining_epochs",
    text="""
Two kinds of checkpoint lie in your team's folders. Epochs are counted from 0.

- The old ones hold `"epoch"`, as many tutorials write it: the epoch that was **just finished**
  when the file was saved.
- The new ones hold `"completed"`: **how many** epochs are finished.

Write `remaining_epochs(checkpoint, total)` for a run of `total` epochs. It returns the list of the
epochs that are still to train, for both kinds of file: every one of them, and none twice.
""",
    hints=(
        "Say in words which epoch comes next, for each kind of file.",
        'After `"epoch": 3` comes 4. After `"completed": 3` (which were 0, 1 and 2) comes 3.',
        'A file may say `"completed": 0`. Ask whether the key is there, not whether it is true.',
    ),
    starter='''
def remaining_epochs(checkpoint, total):
    """Return the list of epochs that are still to train."""
    return list(range(checkpoint["epoch"], total))
''',
)


def cases(seed: int) -> list[Case]:
    """Both kinds of file: in the middle, at the start and at the end.

    No case is the same for all seeds: what is known of one at home helps nowhere else.
    """
    rng, far = random.Random(seed), seed % 997
    total = rng.randint(6, 12) + far
    return [
        {"checkpoint": {"epoch": 3 + far}, "total": 5 + far},
        {"checkpoint": {"completed": 3 + far}, "total": 5 + far},
        {"checkpoint": {"epoch": 0}, "total": 2 + seed % 89},
        {"checkpoint": {"completed": 0}, "total": 3 + seed % 83},
        {"checkpoint": {"epoch": total - 1}, "total": total},
        {"checkpoint": {"completed": total}, "total": total},
        {"checkpoint": {"completed": rng.randint(1, total - 2)}, "total": total},
    ]


def probe(answer: Any, case: Case) -> Plain:
    """Return what the answer returns."""
    return answer(dict(case["checkpoint"]), case["total"])


def judge(case: Case, observed: Plain, expected: Plain) -> Verdict:
    """Name an epoch that would be trained twice, never, or too much."""
    if not isinstance(observed, list):
        return wrong("Return a list of epochs.")
    if observed == expected:
        return RIGHT
    first = expected[0] if expected else case["total"]
    twice = [epoch for epoch in observed if epoch < first]
    beyond = [epoch for epoch in observed if epoch >= case["total"]]
    missing = [epoch for epoch in expected if epoch not in observed]
    if twice:
        return wrong(f"Epoch {twice[-1]} is finished and would be trained a second time.")
    if missing:
        return wrong(f"Epoch {missing[0]} would never be trained.")
    if beyond:
        return wrong(
            f"Epoch {beyond[0]} is beyond the run: counted from 0, {first - 1} is the last."
        )
    return wrong("The right epochs, but not each once and in order.")

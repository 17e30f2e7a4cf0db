"""Exercise 10.4: what a resumed run trained on, beside the run that never stopped."""

from random import Random
from typing import Any

from course_utils.grading.exercise import RIGHT, Case, Plain, Task, Verdict, wrong

TASK = Task(
    title="Judge a resume",
    difficulty="medium",
    minutes=18,
    answer="judge_resume",
    text="""
Three lists of batches, each a list of image numbers: `straight`, all batches of the run that was
never stopped; `before`, those of the stopped run up to its save; `after`, those that the resumed
process took. Write `judge_resume(straight, before, after, per_epoch)`, where `per_epoch` is the
number of batches of an epoch. It returns a dictionary:

- `"alike"`: how many batches of `after` hold the same images in the same order as the batch of the
  straight run at that place,
- `"twice"`: how many images were trained on more than once in the epoch that the save interrupted,
- `"never"`: how many were not trained on in that epoch.

That epoch began in `before` and ended in `after`. However the resumed process ended it, the epochs
after it are whole. A save at the end of an epoch interrupts the next one.
""",
    hints=(
        "How many whole epochs come after the interrupted one? They are the end of `after`.",
        "The interrupted epoch: what `before` has beyond its whole epochs, and what `after` has "
        "before the later ones.",
        "`collections.Counter` counts. All images: those of the straight run's first epoch.",
    ),
    starter='''
def judge_resume(straight, before, after, per_epoch):
    """Return how many batches are alike, and how many images came twice and never."""
    alike = sum(a == b for a, b in zip(straight, after))
    return {"alike": alike, "twice": 0, "never": 0}
''',
)


def cases(seed: int) -> list[Case]:
    """Exact, a new order, the epoch anew, batches dropped or repeated; early and late stops."""
    found = []
    for number, (saved, epochs) in enumerate([(5, 3), (3, 2), (8, 4), (4, 3), (11, 3)]):
        rng = Random(seed + number)
        straight = [batch for _ in range(epochs) for batch in _epoch(rng)]
        done = saved // 4
        whole, rest = straight[(done + 1) * 4 :], straight[saved : (done + 1) * 4]
        anew, other = straight[done * 4 : (done + 1) * 4], _epoch(rng)
        for ending in (rest, other[saved % 4 :], anew, rest[1:], [*rest, rest[0], rest[0]]):
            found.append(
                {
                    "per_epoch": 4,
                    "before": straight[:saved],
                    "after": [*ending, *whole],
                    "straight": straight,
                }
            )
    return found


def _epoch(rng: Random) -> list[list[int]]:
    images = rng.sample(range(12), 12)
    return [images[i : i + 3] for i in range(0, 12, 3)]


def probe(answer: Any, case: Case) -> Plain:
    """Return the judgement, on copies."""
    lists = [[list(batch) for batch in case[name]] for name in ("straight", "before", "after")]
    return answer(*lists, case["per_epoch"])


def judge(case: Case, observed: Plain, expected: Plain) -> Verdict:
    """Compare number by number."""
    if not isinstance(observed, dict) or observed.keys() != expected.keys():
        return wrong("A dictionary with three entries must come.", list(expected), observed)
    says = {
        "alike": "Another number of batches is alike.",
        "twice": "Another number of images came more than once.",
        "never": "Another number of images was never trained on.",
    }
    for name, message in says.items():
        if observed[name] != expected[name]:
            return wrong(message, expected, observed)
    return RIGHT

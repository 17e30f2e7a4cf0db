"""Exercise 02.4: the batches of a run that may be stopped after any of them."""

import random
from itertools import islice
from typing import Any
from unittest import mock

from course_utils.grading.exercise import RIGHT, Case, Observation, Plain, Task, Verdict, wrong
from course_utils.resume.rng import seed_everything

TASK = Task(
    title="The middle of the epoch",
    difficulty="hard",
    minutes=20,
    answer="batches",
    text="""
Write the generator `batches(size, batch_size, epochs, seed, place=None)`. For each batch of the run
it yields a pair: the list of the batch's indices, and a `place`.

- Every epoch is a shuffle of `range(size)`, another one each epoch, decided by `seed` alone. The
  last batch of an epoch may be smaller.
- `place` is saved in the checkpoint after the batch was trained on. It must pass
  `torch.load(weights_only=True)`.
- Called with a saved `place`, in a new process and whatever the state of the global generators, it
  yields exactly the batches that were still to come, of this epoch and of the later ones.
""",
    hints=(
        "From what does the order of epoch 3 follow, in a process that has not run epochs 0 to 2?",
        "Give each epoch a `torch.Generator` of its own, seeded by `seed` and the epoch together.",
        "Then the place is two numbers: the epoch, and how many of its examples are done.",
    ),
    starter='''
def batches(size, batch_size, epochs, seed, place=None):
    """Yield pairs of a batch's indices and the place after it."""
    raise NotImplementedError
''',
)

TOO_MANY = 200


def cases(seed: int) -> list[Case]:
    """Stops inside the first epoch, in a later one, between two, and at the end.

    Ten indices or more, so that two right shuffles never happen to be equal; and sizes drawn so
    widely that orders which were written down do not fit.
    """
    rng = random.Random(seed)
    return [
        _case(rng, 4, 1, seed, epochs=2, stops=[2, 3]),
        _case(rng, 4, 0, seed + 1, epochs=3, stops=[4, 6, 8]),
        _case(rng, 3, 2, seed + 2, epochs=3, stops=[2, 5, 9]),
        _case(rng, 2, 0, seed + 3, epochs=2, stops=[4]),
    ]


def probe(answer: Any, question: Plain) -> Plain:
    """Return a straight run; or, in a new process, it again, another seed, and resumed ones."""
    run, seed = (question["size"], question["batch_size"], question["epochs"]), question["seed"]
    if "places" not in question:
        seed_everything(5)
        return [[indices, place] for indices, place in islice(answer(*run, seed), TOO_MANY)]
    with mock.patch("builtins.hash", _hash_of_another_process):
        seed_everything(6)
        again = [indices for indices, _ in islice(answer(*run, seed), TOO_MANY)]
        other = [indices for indices, _ in islice(answer(*run, seed + 1), TOO_MANY)]
        resumed = {}
        for stop, place in question["places"]:
            seed_everything(stop)
            rest = islice(answer(*run, seed, place), TOO_MANY)
            resumed[stop] = [indices for indices, _ in rest]
    return {"again": again, "other seed": other, "resumed": resumed}


def then(case: Case, straight: Plain) -> Plain:
    """Ask a new process to go on from places of the straight run."""
    return {**case, "places": [[stop, straight[stop - 1][1]] for stop in case["stop after"]]}


def read(case: Case, seen: Observation) -> Plain:
    """Return the batches of all runs."""
    straight, others = seen.data
    return {"straight": [indices for indices, _ in straight], **others}


def judge(case: Case, observed: Plain, expected: Plain) -> Verdict:
    """Check what the task asks for; any order that has these properties is right."""
    straight = observed["straight"]
    if [len(batch) for batch in straight] != [len(batch) for batch in expected["straight"]]:
        return wrong(
            "The straight run has batches of other sizes.",
            [len(batch) for batch in expected["straight"]],
            [len(batch) for batch in straight],
        )
    problem = _order(case, straight)
    if problem:
        return wrong(problem, "shuffles of all indices, another one each epoch", straight)
    if observed["again"] != straight:
        return wrong(
            "The same seed gave another order: it hangs on the global generators.",
            straight,
            observed["again"],
        )
    if observed["other seed"] == straight:
        return wrong("Another seed gave the same order.", came=straight)
    for stop, came in observed["resumed"].items():
        if came != straight[stop:]:
            return wrong(_mistake(case, straight, stop, came), straight[stop:], came)
    return RIGHT


def _case(
    rng: random.Random, whole: int, more: int, seed: int, epochs: int, stops: list[int]
) -> Case:
    """An epoch of some whole batches and, if there are more indices, a smaller one."""
    batch = rng.randint(6, 60)
    size = whole * batch + more
    return {"size": size, "batch_size": batch, "epochs": epochs, "seed": seed, "stop after": stops}


def _hash_of_another_process(value: Any, original: Any = hash) -> int:
    """Each process of Python gives texts another hash; the copy that is asked has its parent's."""
    return int(original(("another", value)) if _holds_text(value) else original(value))


def _holds_text(value: Any) -> bool:
    if isinstance(value, tuple | frozenset):
        return any(map(_holds_text, value))
    return isinstance(value, str | bytes)


def _order(case: Case, straight: list[list[int]]) -> str:
    indices = [index for batch in straight for index in batch]
    size = case["size"]
    epochs = [indices[i : i + size] for i in range(0, len(indices), size)]
    if any(sorted(epoch) != list(range(size)) for epoch in epochs):
        return "An epoch of the straight run does not hold every index once."
    if any(epoch == list(range(size)) for epoch in epochs):
        return "An epoch is not shuffled."
    return "Two epochs have the same order." if epochs[0] in epochs[1:] else ""


def _mistake(case: Case, straight: list[list[int]], stop: int, came: list[list[int]]) -> str:
    per_epoch = len(straight) // case["epochs"]
    if came == straight[stop - stop % per_epoch :]:
        return f"Stopped after {stop} batches, it began the epoch anew."
    if came == straight:
        return f"Stopped after {stop} batches, it began the whole run anew."
    if came == straight[stop - 1 :]:
        return f"Stopped after {stop} batches, it trained the last one again."
    if came == straight[stop + 1 :]:
        return f"Stopped after {stop} batches, it left the next one out."
    here, there = (
        {index for batch in batches[: per_epoch - stop % per_epoch] for index in batch}
        for batches in (came, straight[stop:])
    )
    if stop % per_epoch and here == there:
        return f"Stopped after {stop} batches, it shuffled the rest of the epoch anew."
    return f"Stopped after {stop} batches, it went on with others than were still to come."

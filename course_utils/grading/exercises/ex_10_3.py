"""Exercise 10.3: the rest of an epoch, with the random numbers of the run that never stopped."""

from itertools import islice
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader

from course_utils.grading.exercise import RIGHT, Case, Plain, Task, Verdict, wrong

TASK = Task(
    title="Draw as if nothing had happened",
    difficulty="hard",
    minutes=20,
    answer="rest_of_epoch",
    text="""
Write the generator `rest_of_epoch(loader, skip, random)`. It yields the batches of an epoch that
were still to come when the run was saved: all but the first `skip`. The loader's order is the right
one already.

But `random`, the `torch.get_rng_state()` of the save, must count again at the right moment. To
begin an epoch draws from the global generator, and this dataset draws for every image that is
fetched. The run that never stopped drew from the moment of the save on: for the next batch, for the
dropout of that step, for the batch after it, and so on.

- With `skip == 0` the save was made before the epoch began, so what the beginning draws is drawn
  again.
- With all batches skipped nothing is yielded, and the generator is as `random` says.
""",
    hints=(
        "When exactly is a number drawn: at `iter(loader)`, at `next`, in the training step?",
        "Skipping a batch with `next` draws for its images. Put the generator back after that.",
        "After the last skipped batch: `torch.set_rng_state(random)`. Without any: before `iter`.",
    ),
    starter='''
import torch


def rest_of_epoch(loader, skip, random):
    """Yield the batches that are still to come; draw as the run that never stopped."""
    torch.set_rng_state(random)
    for number, batch in enumerate(loader):
        if number >= skip:
            yield batch
''',
)

TOO_MANY = 50


class _Noisy:
    """Images that are only numbers, with noise from the global generator."""

    def __len__(self) -> int:
        return 10

    def __getitem__(self, index: int) -> Tensor:
        return torch.cat([torch.tensor([float(index)]), torch.rand(1)])


def cases(seed: int) -> list[Case]:
    """Nothing skipped, some, all but one, all; loaders with and without their own generator."""
    return [
        {"skip": skip, "own generator": own, "batch": batch, "seed": seed + skip}
        for batch, skips in ((2, (0, 2, 4, 5)), (4, (0, 1, 3)))
        for skip in skips
        for own in (False, True)
    ]


def probe(answer: Any, case: Case) -> Plain:
    """Save in a straight run, resume, and return what came, with what training drew."""
    straight = _loader(case)
    torch.manual_seed(case["seed"])
    torch.rand(3)
    random = torch.get_rng_state()
    if case["skip"]:
        for _ in islice(straight, case["skip"]):
            torch.rand(1)  # the dropout of a step
            random = torch.get_rng_state()

    torch.manual_seed(case["seed"] + 1000)
    came = []
    for batch in islice(answer(_loader(case), case["skip"], random), TOO_MANY):
        came.append([batch[:, 0].tolist(), batch[:, 1].tolist(), torch.rand(1).item()])
    return {"came": came, "after": torch.rand(1).item()}


def _loader(case: Case) -> DataLoader[Tensor]:
    own = torch.Generator().manual_seed(case["seed"]) if case["own generator"] else None
    data: Any = _Noisy()
    return DataLoader(data, batch_size=case["batch"], generator=own)


def judge(case: Case, observed: Plain, expected: Plain) -> Verdict:
    """Images, their noise, what the steps drew, and the generator afterwards."""
    right, came = ([batch[0] for batch in one["came"]] for one in (expected, observed))
    if came != right:
        return wrong("Other images came.", right, came)
    for number, (wanted, got) in enumerate(zip(expected["came"], observed["came"], strict=True)):
        if got[1] != wanted[1]:
            message = f"The images of batch {number} were drawn with other random numbers."
            return wrong(message, wanted[1], got[1])
        if got[2] != wanted[2]:
            message = f"The step on batch {number} drew another number: its dropout differs."
            return wrong(message, wanted[2], got[2])
    if observed["after"] != expected["after"]:
        return wrong("The generator stands elsewhere at the end of the epoch.")
    return RIGHT

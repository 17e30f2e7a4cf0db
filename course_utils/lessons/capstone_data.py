"""The data that the capstone's scripts are tried on: the digits, but called by other names.

What a script computed elsewhere, or did not compute at all, does not fit them.
"""

import random
import shutil
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

import course_utils
from course_utils.lessons.data import digits

PACKAGE = Path(course_utils.__file__).parent
LEFT_OUT = ("grading", "authoring", "__pycache__")


@dataclass(frozen=True)
class Data:
    """A copy of this package whose ``digits()`` has other labels.

    Attributes:
        package: the folder with the copy, to be put into a script's ``PYTHONPATH``.
        labels: what each digit is called in it.
    """

    package: Path
    labels: tuple[int, ...]

    def test(self) -> tuple[Tensor, Tensor]:
        """Return the test images ``(360, 1, 8, 8)`` and their labels ``(360,)`` in this copy."""
        images, labels = digits(train=False).tensors
        return images, torch.tensor(self.labels)[labels]


def write_data(folder: Path, seed: int) -> tuple[Data, Data]:
    """Write two copies of this package; no digit has the same label in both.

    Args:
        folder: where they go.
        seed: decides the labels.
    """
    labels = list(range(10))
    random.Random(seed).shuffle(labels)
    first = _write(folder / "first", tuple(labels))
    return first, _write(folder / "other", (*labels[1:], labels[0]))


def _write(folder: Path, labels: tuple[int, ...]) -> Data:
    copy = folder / PACKAGE.name
    shutil.copytree(PACKAGE, copy, ignore=shutil.ignore_patterns(*LEFT_OUT))
    with open(copy / "lessons" / "data.py", "a", encoding="utf-8") as module:
        module.write(f"\nLABELS = {labels}\n")
    return Data(folder, labels)

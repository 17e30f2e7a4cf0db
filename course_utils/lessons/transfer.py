"""Does a pretrained start pay? Digits 0 to 5 first, then 6 to 9 from few images."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from course_utils.lessons.data import digits
from course_utils.lessons.models import DigitsCNN
from course_utils.partial.plan import plan_partial_load

OLD_DIGITS, NEW_DIGITS = range(6), range(6, 10)
IMAGE_SIZE = 16  # pixels
STARTS = ("scratch", "fine-tuned", "frozen")
MILESTONES = (5, 10, 20, 30, 40, 60)  # optimizer steps after which accuracy is measured


class Curve(NamedTuple):
    """How one training went: the share of test images that were right at each milestone."""

    start: str
    seed: int
    accuracies: tuple[float, ...]


def pretrain(noise: float = 0.0, *, seed: int = 0, epochs: int = 8, batch: int = 32) -> DigitsCNN:
    """Train a small CNN on the 867 training images of the digits 0 to 5.

    Args:
        noise: standard deviation of the noise on every image; ink is 1, paper 0.
        seed: of the initialisation, the order and the noise.
        epochs: passes over the images.
        batch: images in a step.
    """
    torch.manual_seed(seed)
    model = DigitsCNN(num_classes=len(OLD_DIGITS))
    images, labels = digits(classes=OLD_DIGITS, size=IMAGE_SIZE).tensors
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    for _ in range(epochs):
        for rows in torch.randperm(len(images)).split(batch):
            noisy = images[rows] + noise * torch.randn_like(images[rows])
            _step(model, optimizer, noisy, labels[rows])
    return model


def compare_starts(
    pretrained: nn.Module, noise: float = 0.0, *, seeds: Sequence[int], labels: int = 20
) -> list[Curve]:
    """Learn the new digits from each start with each seed.

    Args:
        pretrained: from `pretrain`; its head does not fit and is left behind.
        noise: as for `pretrain`; drawn once for each image, as a bad camera would.
        seeds: each draws other training images and another initialisation.
        labels: labelled images of the new digits, the same number of each.
    """
    new_digits = [_noisy(digits(part, classes=NEW_DIGITS, size=IMAGE_SIZE).tensors, noise)
                  for part in (True, False)]  # fmt: skip
    return [
        Curve(start, seed, _learn(start, pretrained, seed, labels, *new_digits))
        for seed in seeds
        for start in STARTS
    ]


def freeze(module: nn.Module) -> None:
    """Stop a part of a model from changing: its weights and its BatchNorm statistics.

    Call it again after every ``model.train()``, which wakes BatchNorm.
    """
    module.requires_grad_(False)
    module.eval()


Examples = tuple[Tensor, Tensor]


def _learn(
    start: str, pretrained: nn.Module, seed: int, labels: int, train: Examples, test: Examples
) -> tuple[float, ...]:
    torch.manual_seed(seed)
    images, targets = _draw(train, labels)
    model = DigitsCNN(num_classes=len(NEW_DIGITS))
    if start != "scratch":
        plan_partial_load(model, pretrained.state_dict()).apply()
    head_lr = 1e-2 if start == "frozen" else 1e-3  # a head alone learns slowly at 1e-3
    groups = [
        {"params": model.features.parameters(), "lr": 1e-3},
        {"params": model.head.parameters(), "lr": head_lr},
    ]
    optimizer = torch.optim.Adam(groups)
    accuracies = []
    for step in range(1, max(MILESTONES) + 1):
        model.train()
        if start == "frozen":
            freeze(model.features)
        _step(model, optimizer, images, targets)
        if step in MILESTONES:
            accuracies.append(_accuracy(model, test))
    return tuple(accuracies)


def _step(model: nn.Module, optimizer: torch.optim.Optimizer, images: Tensor, y: Tensor) -> None:
    optimizer.zero_grad()
    cross_entropy(model(images), y).backward()
    optimizer.step()


@torch.no_grad()
def _accuracy(model: nn.Module, test: Examples) -> float:
    model.eval()
    images, targets = test
    return (model(images).argmax(1) == targets).float().mean().item()


def _noisy(examples: tuple[Tensor, ...], noise: float) -> Examples:
    images, labels = examples
    fixed = torch.Generator().manual_seed(0)
    noisy = images + noise * torch.randn(images.shape, generator=fixed)
    return noisy, labels - NEW_DIGITS.start


def _draw(train: Examples, labels: int) -> Examples:
    """Draw as many random examples of each class."""
    images, targets = train
    each = labels // len(NEW_DIGITS)
    classes = [(targets == label).nonzero().flatten() for label in range(len(NEW_DIGITS))]
    rows = torch.cat([found[torch.randperm(len(found))[:each]] for found in classes])
    return images[rows], targets[rows]

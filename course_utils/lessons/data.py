"""The course's data: 1,797 real handwritten digits that ship with scikit-learn."""

from collections.abc import Sequence
from functools import cache

import numpy as np
import torch
from sklearn.datasets import load_digits
from torch import Tensor
from torch.nn.functional import interpolate
from torch.utils.data import Dataset, TensorDataset

TRAIN_SIZE = 1437  # four fifths of the 1,797 images
LABELS = tuple(range(10))  # what each digit is called; the judge of the capstone exchanges them


def digits(
    train: bool = True, *, classes: Sequence[int] | None = None, size: int = 8
) -> TensorDataset:
    """Return handwritten digits as ``(images, labels)``.

    The split is fixed: the same 1,437 images train and the same 360 test on every machine.

    Args:
        train: the training part, or else the test part.
        classes: keep only these digits; labels keep their values.
        size: height and width in pixels; 8 as recorded, else resized bilinearly.

    Returns:
        A dataset of images, float32 of shape ``(N, 1, size, size)`` in [0, 1],
        and labels, int64 of shape ``(N,)``.

    Source:
        E. Alpaydin and C. Kaynak, Optical Recognition of Handwritten Digits, UCI, 1998.
    """
    images, labels, order = _all_digits()
    picked = order[:TRAIN_SIZE] if train else order[TRAIN_SIZE:]
    if classes is not None:
        picked = picked[torch.isin(labels[picked], torch.tensor(list(classes)))]
    images = images[picked]
    if size != images.shape[-1]:
        images = interpolate(images, size=(size, size), mode="bilinear", align_corners=False)
    return TensorDataset(images, labels[picked].clone())


class Noisy(Dataset[Tensor]):
    """Eight numbers with noise from the global generator, as most augmentations draw it."""

    def __len__(self) -> int:
        return 8

    def __getitem__(self, index: int) -> Tensor:
        return index + torch.rand(1)


class Augmented(Dataset[tuple[Tensor, Tensor, int]]):
    """Shifts each image a little, by random numbers that depend on ``(seed, epoch, index)`` only.

    So it does not matter which process draws them, in what order, or what was drawn before:
    with any number of workers, and after a resume, an image is shifted the same way.

    Args:
        dataset: images ``(N, 1, H, W)`` and labels.
        seed: of the shifts.
        pixels: the largest shift in each direction.
    """

    def __init__(self, dataset: TensorDataset, *, seed: int = 0, pixels: int = 1) -> None:
        self.dataset, self.seed, self.pixels = dataset, seed, pixels
        # In shared memory, so that workers that outlive an epoch learn of the next one.
        self._epoch = torch.zeros((), dtype=torch.int64).share_memory_()

    def set_epoch(self, epoch: int) -> None:
        """Choose the shifts of this epoch; call it before iterating over a loader."""
        self._epoch.fill_(epoch)

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor, int]:
        """Return the shifted image ``(1, H, W)``, its label and its index."""
        image, label = self.dataset[index]
        generator = np.random.default_rng([self.seed, int(self._epoch), index])
        down, right = generator.integers(-self.pixels, self.pixels + 1, size=2).tolist()
        return image.roll((down, right), dims=(1, 2)), label, index


@cache
def _all_digits() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    raw = load_digits()
    images = torch.from_numpy(raw.images.astype(np.float32) / 16).unsqueeze(1)
    labels = torch.from_numpy(np.array(LABELS, np.int64)[raw.target])
    order = torch.from_numpy(np.random.default_rng(0).permutation(len(labels)))
    return images, labels, order

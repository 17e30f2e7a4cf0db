"""A pretrained start must win where it is said to win."""

import copy

import pytest
import torch
from torch import nn

from course_utils.lessons.models import DigitsCNN
from course_utils.lessons.transfer import MILESTONES, STARTS, compare_starts, freeze, pretrain


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def test_on_noisy_images_every_seed_wins_at_the_end():
    """The margin holds after both have stopped improving: it is not a head start only."""
    curves = compare_starts(pretrain(noise=0.5), noise=0.5, seeds=[0, 1, 2])
    assert len(curves) == 3 * len(STARTS)
    final = {start: [c.accuracies[-1] for c in curves if c.start == start] for start in STARTS}
    for tuned, scratch in zip(final["fine-tuned"], final["scratch"], strict=True):
        assert tuned > scratch + 0.05
    assert sum(final["fine-tuned"]) / 3 > sum(final["scratch"]) / 3 + 0.15


def test_a_start_with_untrained_weights_wins_nothing():
    """What wins is the training, not the copying."""
    torch.manual_seed(1)
    curves = compare_starts(DigitsCNN(num_classes=6), noise=0.5, seeds=[0, 1])
    final = {start: [c.accuracies[-1] for c in curves if c.start == start] for start in STARTS}
    assert sum(final["fine-tuned"]) / 2 < sum(final["scratch"]) / 2 + 0.1


def test_on_clean_images_it_only_wins_time():
    curves = compare_starts(pretrain(), seeds=[0, 1])
    mean = {
        start: [
            sum(at) / 2
            for at in zip(*(c.accuracies for c in curves if c.start == start), strict=True)
        ]
        for start in STARTS
    }
    early, late = MILESTONES.index(20), -1
    assert mean["fine-tuned"][early] > mean["scratch"][early] + 0.15
    assert abs(mean["fine-tuned"][late] - mean["scratch"][late]) < 0.05


def test_frozen_means_that_nothing_changes():
    model = DigitsCNN()
    before = copy.deepcopy(model.features.state_dict())
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for _ in range(2):
        model.train()
        freeze(model.features)
        nn.functional.cross_entropy(model(torch.rand(4, 1, 8, 8)), torch.arange(4)).backward()
        optimizer.step()
    after = model.features.state_dict()
    assert all(torch.equal(before[key], after[key]) for key in before)

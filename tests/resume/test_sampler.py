"""The order follows from seed and epoch; the position is what training says."""

import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset

from course_utils.errors import MismatchedCheckpointError
from course_utils.resume.sampler import ResumableSampler


def resumed(state):
    sampler = ResumableSampler(10, seed=123)
    sampler.load_state_dict(state)
    return sampler


@pytest.mark.parametrize("epoch", [0, 1, 5])
def test_an_epoch_holds_every_index_once(epoch):
    sampler = ResumableSampler(10)
    sampler.epoch = epoch
    assert sorted(sampler) == list(range(10))


def test_epochs_and_seeds_differ():
    orders = []
    for seed in (0, 1):
        sampler = ResumableSampler(100, seed=seed)
        for _ in range(3):
            orders.append(tuple(sampler))
            sampler.next_epoch()
    assert len(set(orders)) == 6


@pytest.mark.parametrize("position", range(11))
def test_it_goes_on_with_the_rest_of_the_epoch(position):
    sampler = ResumableSampler(10, seed=4)
    sampler.next_epoch()
    whole = list(sampler)
    sampler.advance(position)
    again = resumed(sampler.state_dict())
    assert list(again) == whole[position:]
    assert len(again) == 10 - position


def test_the_order_does_not_depend_on_the_global_generator():
    torch.manual_seed(0)
    first = list(ResumableSampler(50))
    torch.manual_seed(1)
    torch.rand(3)
    assert list(ResumableSampler(50)) == first


def test_what_workers_fetched_ahead_is_not_lost():
    sampler = ResumableSampler(12)
    loader = DataLoader(
        TensorDataset(torch.arange(12)), batch_size=2, sampler=sampler, num_workers=2
    )
    whole = list(sampler)
    (batch,) = next(iter(loader))  # by now the workers hold several batches
    sampler.advance(len(batch))
    state = {**sampler.state_dict()}
    again = ResumableSampler(12, seed=9)
    again.load_state_dict(state)
    assert list(again) == whole[2:]


@pytest.mark.parametrize(
    ("state", "words"),
    [
        ({"seed": 0, "size": 11, "epoch": 3, "position": 2}, "11 examples, this one 10"),
        ({"seed": 0, "size": 10, "epoch": 3, "position": 11}, "position 11"),
        ({"seed": 0, "size": 10, "epoch": 3, "position": -1}, "position -1"),
        ({"seed": 0, "size": 10, "epoch": 3}, "position"),
        ({"seed": 0, "size": 10, "epoch": "x", "position": 1}, "epoch"),
    ],
)
def test_a_state_that_does_not_fit_is_refused_before_anything_changes(state, words):
    sampler = ResumableSampler(10, seed=1)
    with pytest.raises(MismatchedCheckpointError, match=words):
        sampler.load_state_dict(state)
    assert sampler.state_dict() == {"seed": 1, "size": 10, "epoch": 0, "position": 0}

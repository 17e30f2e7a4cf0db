"""All generators come back, and their state is safe to load."""

import random

import numpy as np
import pytest
import torch

from course_utils.resume.rng import RngState, seed_everything


def draw():
    return (
        random.random(),
        random.gauss(0, 1),
        np.random.rand(),  # noqa: NPY002
        np.random.randn(),  # noqa: NPY002
        torch.rand(3).tolist(),
        torch.randn(5).tolist(),
    )


@pytest.mark.parametrize("drawn_before", range(4))
def test_the_next_numbers_are_the_same(drawn_before, tmp_path):
    seed_everything(1)
    for _ in range(drawn_before):
        draw()
        random.gauss(0, 1)  # leaves half of a pair behind, in each generator
        np.random.randn()  # noqa: NPY002
        torch.randn(3)
    torch.save(RngState().state_dict(), tmp_path / "rng.pt")
    expected = draw()
    seed_everything(2)
    RngState().load_state_dict(torch.load(tmp_path / "rng.pt", weights_only=True))
    assert draw() == expected


def test_the_state_does_not_follow_the_generators():
    seed_everything(1)
    state = RngState().state_dict()
    expected = draw()
    draw()
    RngState().load_state_dict(state)
    assert draw() == expected


def test_another_number_of_gpus_is_a_warning():
    state = RngState().state_dict()
    state["cuda"] = [torch.zeros(16, dtype=torch.uint8)] * (torch.cuda.device_count() + 2)
    with pytest.warns(UserWarning, match="generators of"):
        RngState().load_state_dict(state)


def test_numpys_own_state_would_be_refused(tmp_path):
    torch.save(np.random.get_state(), tmp_path / "numpy.pt")  # noqa: NPY002
    with pytest.raises(Exception, match="Weights only load failed"):
        torch.load(tmp_path / "numpy.pt", weights_only=True)


def test_seeding_sets_all_three():
    seed_everything(3)
    first = draw()
    seed_everything(3)
    assert draw() == first

"""All generators come back, and their state is safe to load."""

import random

import numpy as np
import pytest
import torch

from course_utils.resume import TrainState
from course_utils.resume.rng import OwnGenerator, RngState, seed_everything


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
    for _ in range(drawn_before):  # an odd number leaves half of a pair behind, in each generator
        random.gauss(0, 1)
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


class StandIn:
    """The functions by which torch names the generators of a kind of GPU, with one device."""

    def __init__(self):
        self.state = torch.arange(16, dtype=torch.uint8)

    def is_available(self):
        return True

    def device_count(self):
        return 1

    def get_rng_state(self):
        return self.state.clone()

    def set_rng_state(self, state):
        self.state = state

    def get_rng_state_all(self):
        return [self.state.clone()]

    def set_rng_state_all(self, states):
        (self.state,) = states


@pytest.mark.parametrize("kind", ["xpu", "mps"])
def test_other_gpus_than_cudas(kind, monkeypatch, tmp_path):
    """With stand-ins: such a GPU has never run this."""
    gpu = StandIn()
    monkeypatch.setattr(torch, kind, gpu)
    if kind == "mps":
        monkeypatch.setattr(torch.backends.mps, "is_available", gpu.is_available)
    torch.save(RngState().state_dict(), tmp_path / "rng.pt")
    before, gpu.state = gpu.state, torch.zeros(16, dtype=torch.uint8)
    state = torch.load(tmp_path / "rng.pt", weights_only=True)
    RngState().load_state_dict(state)
    assert torch.equal(gpu.state, before)
    del state[kind]
    with pytest.warns(UserWarning, match=f"of 0 {kind.upper()} GPUs and this machine has 1"):
        RngState().load_state_dict(state)


def test_a_run_of_another_kind_of_gpu_is_restored_with_a_warning(monkeypatch):
    model = torch.nn.Linear(1, 1)
    saved = TrainState(model, torch.optim.SGD(model.parameters())).state_dict()
    saved["rng"]["mps"] = [torch.zeros(16, dtype=torch.uint8)]
    with pytest.warns(UserWarning, match="of 1 MPS GPUs and this machine has 0"):
        TrainState(model, torch.optim.SGD(model.parameters())).load_state_dict(saved)


class OnAGpu:
    """A tensor of which only a copy in memory is of use, as a ``map_location`` leaves it."""

    def __init__(self, tensor):
        self.tensor = tensor

    def cpu(self):
        return self.tensor


def test_states_that_lie_on_a_gpu_are_brought_back(monkeypatch):
    generator = torch.Generator().manual_seed(1)
    state = OwnGenerator(generator).state_dict()
    expected = torch.rand(2, generator=generator)
    OwnGenerator(generator).load_state_dict({"state": OnAGpu(state["state"])})
    assert torch.equal(torch.rand(2, generator=generator), expected)
    gpu = StandIn()
    monkeypatch.setattr(torch, "xpu", gpu)
    state = RngState().state_dict()
    before, gpu.state = gpu.state, None
    RngState().load_state_dict({**state, "xpu": [OnAGpu(each) for each in state["xpu"]]})
    assert torch.equal(gpu.state, before)


def test_the_words_of_pythons_generator_lie_in_memory_whatever_the_default_device_is():
    with torch.device("meta"):
        words = RngState().state_dict()["python"]["words"]
    assert words.tolist() == list(random.getstate()[1])

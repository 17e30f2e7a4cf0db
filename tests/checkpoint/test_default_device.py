"""A default device other than the CPU changes nothing: a core of the tests under ``meta``.

It stands for a GPU: what is made without naming a device lands on it, and cannot be read there.
"""

import pytest
import torch

from course_utils.anatomy import read_archive, read_tensors
from course_utils.checkpoint import AsyncCheckpointer, CheckpointManager, load_checkpoint
from course_utils.checkpoint import save_checkpoint as save
from course_utils.resume import ResumableSampler, RngState, differences

STATE = {"large": torch.arange(600_000.0), "part": torch.zeros(100)[3:5], "step": 3}


@pytest.fixture
def path(tmp_path):
    torch.save(STATE, tmp_path / "by_torch.pt")
    with torch.device("meta"):
        yield tmp_path / "by_torch.pt"


@pytest.mark.parametrize("options", [{}, {"mmap": True}, {"mmap": True, "verify_mapped": True}])
def test_load(path, options):
    loaded = load_checkpoint(path, **options)
    assert loaded["large"].device.type == "cpu"
    assert not differences(loaded, STATE)


@pytest.mark.parametrize("compact", [False, True])
def test_save(path, compact):
    save(path, STATE, compact=compact)
    assert not differences(torch.load(path, map_location="cpu"), STATE)


def test_save_in_the_background(path):
    manager = CheckpointManager(path.parent)
    with AsyncCheckpointer(manager) as checkpointer:
        checkpointer.save(STATE, 1)
    assert not differences(manager.restore(), STATE)


def test_reading_without_unpickling(path):
    tensors = read_tensors(read_archive(path), ["large", "part"])
    assert not differences(tensors, {name: STATE[name] for name in tensors})


def test_random_numbers_and_order():
    expected = ResumableSampler(10, seed=1).order()
    with torch.device("meta"):
        rng = RngState()
        rng.load_state_dict(rng.state_dict())
        assert torch.equal(ResumableSampler(10, seed=1).order(), expected)

"""Only keys change: all else is as it was, and what is a model's own name stays."""

import os
from collections import Counter

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import nn
from torch.optim.swa_utils import AveragedModel

from course_utils.ckpt import strip_prefix as module
from course_utils.ckpt.strip_prefix import strip_prefix, strippable
from course_utils.errors import (
    CheckpointWriteError,
    DamagedCheckpointError,
    MismatchedCheckpointError,
)
from course_utils.files.contents import open_contents
from course_utils.resume.compare import differences


@pytest.fixture
def files(tmp_path):
    return tmp_path / "a.pt", tmp_path / "out.pt"


def stripped(state, files, prefix=None):
    torch.save(state, files[0])
    renamed = strip_prefix(*files, prefix, overwrite=True).renamed
    return torch.load(files[1], weights_only=True), renamed


def test_a_whole_training_state(files):
    model = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3))
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    scheduler = torch.optim.lr_scheduler.MultiStepLR(optimizer, [2, 2, 5])
    wrapped = nn.DataParallel(model).state_dict()
    odd = {"bytes": b"\x00", "set": {1}, "complex": 1j, "size": torch.Size([2]), "t": (1, (2,))}
    state = {"model": wrapped, "scheduler": scheduler.state_dict(), **odd}
    loaded, renamed = stripped(state, files)
    assert renamed == {f"module.{key}": key for key in model.state_dict()}
    assert strippable(open_contents(files[0])) == renamed
    assert not differences(loaded["model"], model.state_dict())
    assert loaded["model"]._metadata == model.state_dict()._metadata
    assert {key: loaded[key] for key in odd} == odd
    model.load_state_dict(loaded["model"])
    milestones = loaded["scheduler"]["milestones"]
    assert type(milestones) is Counter
    assert milestones == Counter([2, 2, 5])


def test_what_is_one_object_stays_one(files):
    weight = torch.rand(3)
    config = {"lr": [1]}
    state = {"m": {"module.a": weight, "module.b": weight[1:]}, "c": config, "again": [config]}
    loaded, _ = stripped(state, files)
    assert loaded["m"]["a"].data_ptr() + 4 == loaded["m"]["b"].data_ptr()
    assert loaded["c"] is loaded["again"][0]


class Own(nn.Module):
    """A model with a child that is truly called module."""

    def __init__(self):
        super().__init__()
        self.module = nn.Linear(2, 2)
        self.scale = nn.Parameter(torch.ones(1))


@pytest.mark.parametrize(
    "model", [AveragedModel(nn.Linear(2, 2)), Own(), nn.ModuleDict({"a": Own(), "b": Own()})]
)
def test_a_childs_own_name_stays(files, model):
    torch.save({"module": model.state_dict()}, files[0])
    assert strippable(open_contents(files[0])) == {}
    with pytest.raises(MismatchedCheckpointError, match="nothing to strip"):
        strip_prefix(*files)


def test_wrappers_anywhere_in_the_key(files):
    keys = ["net._orig_mod.0.weight", "net._orig_mod.module.b", "head.module.w"]
    loaded, _ = stripped({"module": {key: torch.ones(1) for key in keys}}, files)
    assert list(loaded["module"]) == [
        "net.0.weight",
        "net._orig_mod.module.b"[:4] + "module.b",
        "head.w",
    ]


def test_a_prefix_of_ones_own_and_refusals(files):
    torch.save({"net.w": torch.ones(1), "w": torch.ones(2)}, files[0])
    with pytest.raises(
        MismatchedCheckpointError, match=r"one name without the prefix: net.w and w"
    ):
        strip_prefix(*files, "net.")
    with pytest.raises(MismatchedCheckpointError, match=r"no key has the prefix 'head\.'"):
        strip_prefix(*files, "head.")
    assert not files[1].exists()
    config = {"net.depth": 3}
    loaded, renamed = stripped({"m": {"net.w": torch.ones(1)}, "config": config}, files, "net.")
    assert (list(loaded["m"]), loaded["config"]) == (["w"], config)
    assert renamed == {"net.w": "w"}


def test_safetensors_files(files):
    tensors = {"module.a": torch.rand(3), "module.b": torch.ones(2).half()}
    save_file(tensors, files[0], metadata={"format": "pt", "module.c": "module.a", "note": "x"})
    strip_prefix(*files)
    assert not differences(
        load_file(files[1]), {"a": tensors["module.a"], "b": tensors["module.b"]}
    )
    with safe_open(files[1], "pt") as file:
        assert file.metadata() == {"format": "pt", "c": "a", "note": "x"}


def test_nothing_is_overwritten_unasked(files):
    torch.save({"module.a": torch.ones(1)}, files[0])
    files[1].write_text("mine")
    with pytest.raises(CheckpointWriteError, match="exists already"):
        strip_prefix(*files)
    with pytest.raises(CheckpointWriteError, match="the file that is read"):
        strip_prefix(files[0], files[0], overwrite=True)
    assert files[1].read_text() == "mine"


def test_a_fault_of_our_own_is_found_before_the_file_is_kept(files, monkeypatch):
    torch.save({"m": {"module.a": torch.ones(1)}, "n": [1]}, files[0])

    def spoil(node, names):
        items = [(names.get(key, key), value) for key, value in node.items()]
        node.clear()
        node.update(items, lost=1)

    monkeypatch.setattr(module, "_rename", spoil)
    with pytest.raises(DamagedCheckpointError, match="not what it was made from"):
        strip_prefix(*files)
    assert os.listdir(files[0].parent) == ["a.pt"]

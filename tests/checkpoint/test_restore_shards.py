"""Restoring a model in place from the shards of a folder."""

import json
import subprocess
import sys
from copy import deepcopy

import pytest
import safetensors.torch
import torch
from torch import nn

from course_utils.checkpoint import restore_checkpoint
from course_utils.errors import (
    DamagedCheckpointError,
    MismatchedCheckpointError,
    UnsupportedCheckpointError,
)
from course_utils.files.contents import open_contents
from course_utils.resume import differences


class Renaming(nn.Linear):
    """Loads its state in a way of its own."""

    def _load_from_state_dict(self, *arguments):
        super()._load_from_state_dict(*arguments)


def folder_of(path, state, suffix):
    """As transformers writes it, the tensors dealt out to two files."""
    path.mkdir()
    shards = {f"model-0000{n + 1}-of-00002.{suffix}": list(state)[n::2] for n in range(2)}
    for name, keys in shards.items():
        part = {key: state[key].clone() for key in keys}
        if suffix == "bin":
            torch.save(part, path / name)
        else:
            safetensors.torch.save_file(part, path / name)
    owners = {key: name for name, keys in shards.items() for key in keys}
    index = path / f"model.{suffix}.index.json"
    index.write_text(json.dumps({"metadata": {}, "weight_map": owners}))
    return sorted(shards)


def convolutions(seed):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Linear(3, 3)).double()


@pytest.mark.parametrize("suffix", ["safetensors", "bin"])
def test_a_folder_of_shards(tmp_path, suffix):
    original, target = convolutions(1), convolutions(2)
    folder_of(tmp_path / "m", original.state_dict(), suffix)
    places = {name: tensor.data_ptr() for name, tensor in target.state_dict().items()}
    for path in (tmp_path / "m", tmp_path / "m" / f"model.{suffix}.index.json"):
        target.load_state_dict(convolutions(3).state_dict())
        restore_checkpoint(path, target)
        assert not differences(target.state_dict(), original.state_dict())
    assert places == {name: tensor.data_ptr() for name, tensor in target.state_dict().items()}


@pytest.mark.parametrize("suffix", ["safetensors", "bin"])
def test_a_damaged_shard_leaves_all_as_it_was(tmp_path, suffix):
    target = convolutions(2)
    shards = folder_of(tmp_path / "m", convolutions(1).state_dict(), suffix)
    before = deepcopy(target.state_dict())
    for name in shards:
        content = (tmp_path / "m" / name).read_bytes()
        wrong = [content[: len(content) // 2]]
        if suffix == "bin":  # its records have checksums
            record = open_contents(tmp_path / "m" / name).records["data/0"]
            wrong.append(bytearray(content))
            wrong[1][record.offset] ^= 1
        for other in wrong:
            (tmp_path / "m" / name).write_bytes(other)
            with pytest.raises(DamagedCheckpointError, match=name):
                restore_checkpoint(tmp_path / "m", target)
        (tmp_path / "m" / name).write_bytes(content)
    assert not differences(target.state_dict(), before)


def test_shards_that_do_not_fit_are_told_before_anything_changes(tmp_path):
    folder_of(tmp_path / "m", nn.Linear(3, 3).state_dict() | {"more": torch.ones(1)}, "bin")
    target = nn.Sequential(nn.Linear(3, 3))
    before = deepcopy(target.state_dict())
    with pytest.raises(MismatchedCheckpointError, match=r"(?s)0\.weight is not in the.*more is in"):
        restore_checkpoint(tmp_path / "m", target)
    folder_of(tmp_path / "n", nn.Linear(3, 4).state_dict(), "safetensors")
    with pytest.raises(MismatchedCheckpointError, match=r"\(4, 3\) in the file, \(3, 3\) here"):
        restore_checkpoint(tmp_path / "n", target[0])
    assert not differences(target.state_dict(), before)


def test_a_lone_block_of_a_larger_tensor_is_not_taken_for_the_whole(tmp_path):
    noted = {"DCP_SHARDING_INFO": json.dumps({"weight": {"saved_offsets": [3, 0]}})}
    path = tmp_path / "block.safetensors"
    safetensors.torch.save_file({"weight": torch.ones(3, 3), "bias": torch.ones(3)}, path, noted)
    target = nn.Linear(3, 3)
    before = deepcopy(target.state_dict())
    with pytest.raises(UnsupportedCheckpointError, match=r"weight: it is a block.*\(3, 0\)"):
        restore_checkpoint(path, target)
    assert not differences(target.state_dict(), before)


def test_folders_that_are_no_weights_are_sent_elsewhere(tmp_path):
    folder_of(tmp_path / "m", nn.Linear(2, 2).state_dict(), "bin")
    with pytest.raises(UnsupportedCheckpointError, match=r"a dict.*plan_partial_load"):
        restore_checkpoint(tmp_path / "m", {"model": nn.Linear(2, 2)})
    with pytest.raises(UnsupportedCheckpointError, match=r"0, a Renaming.*plan_partial_load"):
        restore_checkpoint(tmp_path / "m", nn.Sequential(Renaming(2, 2)))


PROGRAM = """
import resource, sys
import torch
from course_utils.checkpoint import restore_checkpoint
from course_utils.devices import load_into_meta
from course_utils.partial import plan_partial_load
from course_utils.resume import differences
def model(value):
    return torch.nn.ParameterList(torch.full((3,), float(n * value)) for n in range(200))
resource.setrlimit(resource.RLIMIT_NOFILE, (100, 100))
wanted = model(1).state_dict()
def restore(model, path):
    restore_checkpoint(path, model)
for load in (lambda m, f: plan_partial_load(m, f).apply(), load_into_meta, restore):
    target = model(2) if load is not load_into_meta else model(2).to("meta")
    try:
        load(target, sys.argv[1])
    except Exception as error:
        print(type(error).__name__, error)
    else:
        print(differences(target.state_dict(), wanted))
"""


@pytest.mark.parametrize("suffix", ["safetensors", "bin"])
def test_more_shards_than_may_be_open_at_once(tmp_path, suffix):
    """Readers that need few open files read them; the one that needs all says so."""
    shards = {}
    for number in range(200):
        name = f"model-{number + 1:05}-of-00200.{suffix}"
        part = {str(number): torch.full((3,), float(number))}
        save = torch.save if suffix == "bin" else safetensors.torch.save_file
        save(part, tmp_path / name)
        shards[str(number)] = name
    index = {"metadata": {}, "weight_map": shards}
    (tmp_path / f"model.{suffix}.index.json").write_text(json.dumps(index))
    command = [sys.executable, "-W", "ignore", "-c", PROGRAM, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    *readers, in_place = done.stdout.splitlines()
    assert readers == ["[]", "[]"]
    assert "more files than this process may have open at once" in in_place
    assert "UnsupportedCheckpointError" in in_place
    assert "plan_partial_load" in in_place

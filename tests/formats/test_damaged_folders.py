"""Every message that says that a folder is damaged comes from a folder that is."""

import json
import re
import shutil
import warnings
from pathlib import Path

import pytest
import test_damage
import torch
import torch.distributed.checkpoint as dcp
from safetensors.torch import save_file

from course_utils.errors import CheckpointError
from course_utils.files.contents import open_contents

COMMITTED = Path(__file__).parents[1] / "data" / "build_0_1" / "sharded" / "step-00000002"
FILE, INDEX, COMMIT = "__0_0.distcp", ".metadata", "commit.json"
UNREACHED = "it is damaged: .*"  # each file of the folder was read before all of them together


def cut(path):
    path.write_bytes(path.read_bytes()[:-200])


def unlist(folder):
    record = json.loads((folder / COMMIT).read_text())
    del record["files"][FILE]
    (folder / COMMIT).write_text(json.dumps(record))


def list_another(folder):
    record = json.loads((folder / COMMIT).read_text())
    record["files"]["gone"] = record["files"][FILE]
    (folder / COMMIT).write_text(json.dumps(record))


def spread(folder, value):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        dcp.save({"w": value}, checkpoint_id=folder)


def other_block(folder):
    """Put a file of another shape, and of as many bytes, in the place of the one indexed."""
    shutil.rmtree(folder)
    spread(folder, torch.ones(2, 3))
    spread(folder.with_name("other"), torch.ones(3, 2))
    shutil.copy(folder.with_name("other") / FILE, folder / FILE)


def shards(folder):
    shutil.rmtree(folder)
    folder.mkdir()
    for number in (1, 2):
        save_file({f"w{number}": torch.ones(2)}, folder / f"model-{number:05}-of-00002.safetensors")
    owners = {f"w{number}": f"model-{number:05}-of-00002.safetensors" for number in (1, 2)}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": owners}))


def without_shard(folder):
    shards(folder)
    (folder / "model-00002-of-00002.safetensors").unlink()


def a_piece(folder):
    shutil.rmtree(folder)
    folder.mkdir()
    places = json.dumps({"w": {"saved_offsets": [3, 0]}})  # and the piece before is missing
    name = folder / "shard-00001-model-00001-of-00001.safetensors"
    save_file({"w": torch.ones(2, 2)}, name, {"DCP_SHARDING_INFO": places})


def without_json(folder):
    shards(folder)
    (folder / "model.safetensors.index.json").write_text("{")


def an_empty_shard(folder):
    shards(folder)
    (folder / "model-00002-of-00002.safetensors").write_bytes(b"")


BREAKS = {
    "no index": lambda folder: (folder / INDEX).unlink(),
    "no file": lambda folder: [
        (folder / COMMIT).unlink(), (folder / FILE).rename(folder / "__1_0.distcp"),
    ],
    "no file, though listed": list_another,
    "not listed": unlist,
    "index cut": lambda folder: cut(folder / INDEX),
    "another block": other_block,
    "file cut": lambda folder: [(folder / COMMIT).unlink(), cut(folder / FILE)],
    "record": lambda folder: (folder / COMMIT).write_text('{"files": 3}'),
    "file longer": lambda folder: (folder / FILE).open("ab").write(b"x"),
    "no shard": without_shard,
    "empty shard": an_empty_shard,
    "no first piece": a_piece,
    "no JSON": without_json,
}  # fmt: skip


@pytest.mark.filterwarnings("ignore:torch.distributed is disabled")
def test_every_message_of_damage_is_that_of_a_damaged_folder(tmp_path):
    missing = dict(test_damage.messages(test_damage.OF_FOLDERS))
    for name, damage in BREAKS.items():
        folder = tmp_path / name / "step-00000002"
        shutil.copytree(COMMITTED, folder)
        open_contents(folder)  # sound
        damage(folder)
        with pytest.raises(CheckpointError) as raised:
            open_contents(folder)
        said = str(raised.value)
        found = {at: text for at, text in missing.items() if re.search(text, said, re.DOTALL)}
        assert found, f"{name}: {said}"
        missing = {at: text for at, text in missing.items() if at not in found}
    left = {at: text.replace("\\", "") for at, text in missing.items()}
    assert [item for item in left.items() if UNREACHED not in item[1]] == []

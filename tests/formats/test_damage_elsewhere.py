"""Every message of the other wings that says that something is damaged is that of a damaged thing.

Those of anatomy, files, formats and safety are tested in `test_damage` and `test_damaged_folders`.
"""

import errno
import json
import os
import pickle
import re
import shutil
import struct
import warnings
import zipfile
from pathlib import Path

import hostile
import pytest
import test_damage
import torch
from safetensors.torch import save_file
from torch import nn

from course_utils.checkpoint import (
    load,
    load_checkpoint,
    read_into,
    restore_checkpoint,
    verified_read,
)
from course_utils.checkpoint.manager import CheckpointManager
from course_utils.checkpoint.torch_versions import version
from course_utils.ckpt.rescue import rescue
from course_utils.distributed.commit import measure
from course_utils.distributed.convert import from_one_file
from course_utils.distributed.sharded import load_sharded_model
from course_utils.portable.export import export_program
from course_utils.portable.load import load_program
from course_utils.portable.torchscript import export_script, inspect_script

COMMITTED = Path(__file__).parents[1] / "data" / "build_0_1" / "sharded" / "step-00000002"
WINGS = ("checkpoint", "ckpt", "devices", "distributed", "partial", "portable", "resume")
MODULES = [m for wing in WINGS for m in sorted((test_damage.PACKAGE / wing).glob("*.py"))]

# Never said: after a first, quick reading of a file a stricter one follows, and says what is wrong.
NEVER_SAID = ["it is not laid out as torch does"]
if version() < (2, 10):  # then the audit sees it before torch's loader asks
    NEVER_SAID += ["its tensor needs", "its pickle does not fit", "tensors lie in it"]


def flip(path, place):
    data = bytearray(path.read_bytes())
    data[place] ^= 1
    path.write_bytes(data)


def in_the_weights(path):
    return path.read_bytes().index(struct.pack("<4f", 1, 2, 3, 4))


def saved(folder, name="a.pt"):
    torch.save({"weight": torch.tensor([[1.0, 2.0, 3.0, 4.0]])}, folder / name)
    return folder / name


def linear():
    found = nn.Linear(4, 1, bias=False)
    found.load_state_dict({"weight": torch.tensor([[1.0, 2.0, 3.0, 4.0]])})
    return found


def changed(folder, monkeypatch):
    path = saved(folder)
    flip(path, in_the_weights(path))
    yield lambda: load_checkpoint(path)
    yield lambda: restore_checkpoint(path, linear())
    (folder / "run").mkdir()
    shutil.copy(path, folder / "run" / "step-00000001.pt")
    yield CheckpointManager(folder / "run").restore


def another_size(folder, monkeypatch):
    for count in (1, 9):  # the tensor has 4 numbers
        tensor = hostile.tensor(shape=(1, 4), stride=(4, 1), count=count)
        content = test_damage.pickled(b"}" + hostile.text("weight") + tensor + b"s")
        (folder / "a.pt").write_bytes(hostile.zip_checkpoint(content))
        yield lambda: load_checkpoint(folder / "a.pt")
        yield lambda: restore_checkpoint(folder / "a.pt", linear())


class Fails:
    """Of the caller's own, and allowed: it cannot be made here."""

    def __init__(self):
        self.number = 1

    def __setstate__(self, state):
        raise KeyError("another number")


def lost_and_failing(folder, monkeypatch):
    path = saved(folder)
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(folder / "b.pt", "w") as new:
        for name in old.namelist():
            if not name.endswith("data/0"):
                new.writestr(name, old.read(name))
    yield lambda: load_checkpoint(folder / "b.pt")
    torch.save({"own": Fails(), **torch.load(path)}, path)
    flip(path, in_the_weights(path))

    def load_own():
        with torch.serialization.safe_globals([Fails]):
            load_checkpoint(path)

    yield load_own


def cut_while_it_is_read(folder, monkeypatch):
    path = saved(folder)
    read = load.read_others

    def cut(file, records):
        found = read(file, records)
        os.truncate(path, in_the_weights(path) + 8)
        return found

    monkeypatch.setattr(load, "read_others", cut)
    yield lambda: load_checkpoint(path)


def gone_between_two_readings(folder, monkeypatch):
    path, read = saved(folder), read_into.read
    monkeypatch.setattr(read_into, "ALONE", 0)  # a small file is read once
    place = in_the_weights(path)

    def cut(descriptor, readings):
        os.truncate(path, place + 8)
        read(descriptor, readings)

    def overwrite(descriptor, readings):
        path.write_bytes(path.read_bytes() + b"x")
        read(descriptor, readings)

    for instead in (overwrite, cut):
        monkeypatch.setattr(read_into, "read", instead)
        yield lambda: restore_checkpoint(path, linear())


def on_a_dying_disk(folder, monkeypatch):
    path, read = saved(folder), os.preadv

    def fail(descriptor, buffers, position):
        if position == in_the_weights(path):
            raise OSError(errno.EIO, "Input/output error")
        return read(descriptor, buffers, position)

    monkeypatch.setattr(verified_read.os, "preadv", fail)
    yield lambda: load_checkpoint(path)


def header(folder, monkeypatch):
    save_file({"weight": torch.ones(1, 4)}, folder / "a.safetensors")
    path = folder / "a.safetensors"
    path.write_bytes(path.read_bytes()[:-4])
    yield lambda: restore_checkpoint(path, linear())
    yield lambda: from_one_file(path, folder / "run", 1)


def committed(folder, monkeypatch):
    def here(number):
        shutil.copytree(COMMITTED, folder / str(number) / COMMITTED.name)
        return folder / str(number), folder / str(number) / COMMITTED.name

    def loaded(run):
        return lambda: load_sharded_model(run, linear())

    run, step = here(1)
    (step / "commit.json").write_text("{")
    yield loaded(run)
    run, step = here(2)
    flip(step / "__0_0.distcp", 500)
    yield loaded(run)
    for number, content in enumerate([b"nonsense", pickle.dumps([1]), None], 3):
        run, step = here(number)
        record = json.loads((step / "commit.json").read_text())
        if content is None:
            record["files"].pop("__0_0.distcp")
        else:
            (step / ".metadata").write_bytes(content)
            part = measure(step / ".metadata")
            record["files"][".metadata"] = {"bytes": part.bytes, "crc32": part.crc32}
        (step / "commit.json").write_text(json.dumps(record))
        yield loaded(run)


def programs(folder, monkeypatch):
    path = folder / "a.pt2"
    export_program(linear(), torch.ones(2, 4), path)
    flip(path, path.read_bytes().index(b"graph_module"))
    yield lambda: load_program(path, trusted=True)
    path = folder / "a.pt"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        export_script(linear(), torch.ones(2, 4), path)
    whole = path.read_bytes()
    flip(path, in_the_weights(path))
    yield lambda: inspect_script(path)
    path.write_bytes(whole[:-100])
    yield lambda: inspect_script(path)


def beyond_rescue(folder, monkeypatch):
    path = saved(folder)
    whole = path.read_bytes()
    flip(path, whole.index(b"_rebuild_tensor_v2"))
    path.write_bytes(path.read_bytes()[:-30])
    yield lambda: rescue(path, folder / "out.pt")
    path.write_bytes(hostile.zip_checkpoint(b"\x80\x02)R.")[:-10])
    yield lambda: rescue(path, folder / "out.pt")


DAMAGES = [
    changed, another_size, lost_and_failing, cut_while_it_is_read, gone_between_two_readings,
    on_a_dying_disk, header, committed, programs, beyond_rescue,
]  # fmt: skip


@pytest.mark.filterwarnings("ignore")
def test_every_message_of_damage_is_that_of_a_damaged_thing(tmp_path):
    missing = dict(test_damage.messages(MODULES))
    assert len(missing) > 15
    for damage in DAMAGES:
        folder = tmp_path / damage.__name__
        folder.mkdir()
        with pytest.MonkeyPatch.context() as monkeypatch:
            for number, act in enumerate(damage(folder, monkeypatch)):
                try:
                    act()
                except Exception as error:
                    said = str(error)
                else:
                    pytest.fail(f"{damage.__name__} {number}: not seen")
                missing = {
                    at: text for at, text in missing.items() if not re.search(text, said, re.DOTALL)
                }
    left = {at: text.replace("\\", "") for at, text in missing.items()}
    assert [x for x in left.items() if not any(known in x[1] for known in NEVER_SAID)] == []

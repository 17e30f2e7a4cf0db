"""Files from before PyTorch 1.6: read whole, or damaged; never half."""

import io
import json
import pickle
import struct
import tarfile
from functools import partial

import pytest
import torch

from course_utils.anatomy import read_archive, read_tensors
from course_utils.checkpoint import load_checkpoint
from course_utils.ckpt.main import main
from course_utils.errors import (
    DamagedCheckpointError,
    NotACheckpointError,
    UnsupportedCheckpointError,
)
from course_utils.safety import audit, convert

OLD = {"_use_new_zipfile_serialization": False}
MAGIC = pickle.dumps(0x1950A86A20F9469CFC6C, 2)
SYSTEM = {"protocol_version": 1001, "little_endian": True, "type_sizes": {"short": 2}}


def text(value):
    data = value.encode()
    return b"U" + bytes([len(data)]) + data  # as Python 2 wrote strings


def storage(key="7", count=6, view=b"N", kind=b"FloatStorage"):
    kind = b"ctorch\n" + kind + b"\n"
    fields = [text("storage"), kind, text(key), text("cpu"), b"K" + bytes([count]), view]
    return b"(" + b"".join(fields) + b"tQ"


def numbers(values):
    return b"(" + b"".join(b"K" + bytes([value]) for value in values) + b"t"


def tensor(storage, offset, shape, stride):
    place = b"K" + bytes([offset]) + numbers(shape) + numbers(stride)
    return b"ctorch._utils\n_rebuild_tensor\n(" + storage + place + b"tR"


def stream(tree, storages, system=SYSTEM):
    """Return a row of pickles as PyTorch 0.3 wrote it under Python 2."""
    keys = b"\x80\x02](" + b"".join(map(text, storages)) + b"e."
    data = b"".join(struct.pack("<q", len(d) // 4) + d for d in storages.values())
    head = MAGIC + pickle.dumps(1001, 2) + pickle.dumps(system, 2)
    return head + b"\x80\x02" + tree + b"." + keys + data


def written(folder, content, name="old.pt"):
    (folder / name).write_bytes(content)
    return folder / name


def read(path):
    archive = read_archive(path)
    return read_tensors(archive, archive.tensors)


DATA = struct.pack("<6f", *range(6))
PART = b"(" + text("9") + b"K\x02K\x04t"  # elements 2 to 5 of another storage


def entry(name, node):
    return b"](" + text(name) + node + b"e"


def test_an_ordered_dict_of_python_2_with_parts_of_storages(tmp_path):
    whole = entry("wé", tensor(storage(), 1, (2, 2), (2, 1)))
    part = entry("part", tensor(storage(view=PART), 1, (3,), (1,)))
    tree = b"ccollections\nOrderedDict\n](" + whole + part + b"e\x85R"
    path = written(tmp_path, stream(tree, {"7": DATA}))
    wanted = torch.load(path, weights_only=True)
    assert wanted["part"].tolist() == [3, 4, 5]
    assert {k: v.tolist() for k, v in read(path).items()} == {
        k: v.tolist() for k, v in wanted.items()
    }
    assert audit(path).verdict.value == "plain data"
    tensors = read_archive(path).tensors
    assert tensors["wé"].storage == tensors["part"].storage  # they share memory, as in torch
    convert(path, tmp_path / "new.pt")
    new = torch.load(tmp_path / "new.pt", weights_only=True)
    assert list(new) == list(wanted)
    assert all(torch.equal(new[k], wanted[k]) for k in wanted)
    assert new["part"].untyped_storage()._cdata == new["wé"].untyped_storage()._cdata


def test_the_byte_order_of_the_machine_plays_no_part(tmp_path):
    tree = tensor(storage(), 0, (6,), (1,))
    path = written(tmp_path, stream(tree, {"7": DATA}, {**SYSTEM, "little_endian": False}))
    assert read(path)[""].tolist() == torch.load(path).tolist() == [0, 1, 2, 3, 4, 5]


ONE = tensor(storage(), 0, (1,), (1,))


@pytest.mark.parametrize(
    ("tree", "storages"),
    [
        (tensor(storage(), 3, (6,), (1,)), {"7": DATA}),
        (tensor(storage(view=PART), 2, (3,), (1,)), {"7": DATA}),
        (tensor(storage(view=b"(" + text("9") + b"K\x04K\x04t"), 0, (1,), (1,)), {"7": DATA}),
        (tensor(storage(count=5), 0, (1,), (1,)), {"7": DATA}),
        (ONE, {}),
        (ONE, {"7": DATA, "8": DATA}),
        (tensor(storage(key="8"), 0, (1,), (1,)), {"7": DATA}),
        (ONE + tensor(storage(kind=b"IntStorage"), 0, (1,), (1,)) + b"\x86", {"7": DATA}),
    ],
)  # fmt: skip
def test_what_contradicts_itself_is_damaged(tmp_path, tree, storages):
    path = written(tmp_path, stream(tree, storages))
    with pytest.raises(DamagedCheckpointError, match=r"old\.pt"):
        read_archive(path)


STATE = {"a": torch.arange(6.0), "b": torch.ones(2, 2).bfloat16(), "epoch": 3}


def saved(folder, name="old.pt"):
    torch.save(STATE, folder / name, **OLD)
    return folder / name


def test_every_truncation_is_damage(tmp_path, capsys):
    content = saved(tmp_path).read_bytes()
    first = len(MAGIC)
    for count in range(first, len(content)):
        path = written(tmp_path, content[:count])
        with pytest.raises(DamagedCheckpointError):
            read_archive(path)
    assert main(["verify", str(path)]) == 1
    assert "is damaged" in capsys.readouterr().err


def test_a_changed_byte_changes_what_is_read_or_is_damage(tmp_path):
    """Nothing checks the bytes, but what torch then reads is what we read."""
    content, compared = saved(tmp_path).read_bytes(), 0
    for position in range(len(MAGIC), len(content)):
        changed = bytearray(content)
        changed[position] ^= 0x20
        path = written(tmp_path, bytes(changed))
        try:
            found = {name: values.tolist() for name, values in read(path).items()}
            wanted = torch.load(path, weights_only=True, map_location=lambda storage, tag: storage)
        except Exception:  # torch's are of any type
            continue
        assert found == {k: v.tolist() for k, v in wanted.items() if isinstance(v, torch.Tensor)}, (
            position
        )
        compared += 1
    assert compared > 50


def test_verify_says_that_nothing_can_be_verified(tmp_path, capsys):
    path = saved(tmp_path)
    assert main(["verify", str(path)]) == 0
    assert "readable, not verifiable" in capsys.readouterr().out
    assert main(["verify", "--strict", str(path)]) == 1


@pytest.mark.parametrize("command", ["convert", "slim", "strip-prefix"])
def test_what_is_written_from_it_is_of_today(tmp_path, command):
    state = {"module.a": torch.arange(4000.0)[:4], "module.b": torch.ones(2)}
    torch.save({"model": state, "epoch": 3}, tmp_path / "old.pt", **OLD)
    assert main([command, str(tmp_path / "old.pt"), str(tmp_path / "new.pt")]) == 0
    new = load_checkpoint(tmp_path / "new.pt")  # with checksums: no warning
    assert new["epoch"] == 3
    prefix = "" if command == "strip-prefix" else "module."
    assert {k: v.tolist() for k, v in new["model"].items()} == {
        f"{prefix}a": [0, 1, 2, 3],
        f"{prefix}b": [1, 1],
    }


@pytest.mark.parametrize("command", ["convert", "slim", "strip-prefix"])
@pytest.mark.parametrize("options", [OLD, {}], ids=["old", "new"])
def test_what_follows_the_end_is_said_not_to_be_taken(tmp_path, capsys, command, options):
    old, new = tmp_path / "old.pt", tmp_path / "new.pt"
    with old.open("wb") as file:
        torch.save({"module.a": torch.arange(4000.0)[:4]}, file, **options)
        file.write(bytes(77))
    assert main([command, str(old), str(new)]) == 0
    assert "not taken: 77 bytes follow the" in capsys.readouterr().out
    assert main(["convert", str(old), str(tmp_path / "new.safetensors"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["files"][0]["rest"].startswith("77 bytes follow")
    assert (
        main([command, str(new), str(old), "--force", "--json"]) == (command == "strip-prefix") * 2
    )
    if command != "strip-prefix":
        assert json.loads(capsys.readouterr().out)["files"][0]["rest"] is None


def longs(*values):
    return struct.pack(f"<{len(values)}q", *values)


def tar(**changes):
    """Return a checkpoint as PyTorch 0.1 wrote it: a tensor, and one of a part of its storage."""
    dump = partial(pickle.dumps, protocol=2)
    kind = b"\x80\x02ctorch\nFloatStorage\n"
    storages = dump(1) + b"\x80\x02(K\x0a" + text("cpu") + kind[2:] + b"t." + longs(6) + DATA
    storages += dump([(11, 10, 2, 4)])
    named = b"ctorch\nFloatTensor\nt."
    tensors = dump(2) + b"\x80\x02(K\x14K\x0a" + named + longs(2, 2, 3, 3, 1, 0)
    tensors += b"\x80\x02(K\x15K\x0b" + named + longs(1, 3, 1, 1)
    tree = b"\x80\x02}(" + text("a") + text("20") + b"Q" + text("b") + text("21") + b"Qu."
    members = {"sys_info": dump(SYSTEM), "pickle": tree, "tensors": tensors, "storages": storages}
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:", format=tarfile.PAX_FORMAT) as archive:
        for name, data in {**members, **changes}.items():
            if data is not None:
                info = tarfile.TarInfo(name)
                info.size = len(data)
                archive.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


def test_a_tar_file(tmp_path):
    path = written(tmp_path, tar())
    wanted = torch.load(path, weights_only=False)
    assert wanted["b"].tolist() == [3, 4, 5]
    assert {k: v.tolist() for k, v in read(path).items()} == {
        k: v.tolist() for k, v in wanted.items()
    }
    with pytest.raises(UnsupportedCheckpointError, match=r"ckpt convert old\.pt NEW\.pt"):
        load_checkpoint(path)
    assert main(["convert", str(path), str(tmp_path / "new.pt")]) == 0  # the remedy
    new = load_checkpoint(tmp_path / "new.pt")
    assert {k: v.tolist() for k, v in new.items()} == {k: v.tolist() for k, v in wanted.items()}


@pytest.mark.parametrize("lost", ["storages", "tensors", "pickle"])
def test_a_tar_file_that_lacks_something(tmp_path, lost):
    path = written(tmp_path, tar(**{lost: None}))
    assert audit(path).verdict.value == "damaged"
    with pytest.raises(DamagedCheckpointError, match=f"{lost}: is missing"):
        read_archive(path)


def test_every_truncation_of_a_tar_file_is_damage(tmp_path):
    content = tar()
    end = content.rindex(DATA) + len(DATA)
    for count in range(1024, end, 100):
        with pytest.raises(DamagedCheckpointError):
            read_archive(written(tmp_path, content[:count]))


def test_another_tar_file_is_no_checkpoint(tmp_path):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:") as archive:
        archive.addfile(tarfile.TarInfo("readme"), io.BytesIO())
    path = written(tmp_path, buffer.getvalue())
    assert audit(path).verdict.value == "not a checkpoint"
    with pytest.raises(NotACheckpointError, match="is a tar file"):
        read_archive(path)

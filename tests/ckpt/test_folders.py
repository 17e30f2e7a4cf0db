"""Folders that are one checkpoint, in every command and in a partial load."""

import json
import os
import resource
import shutil
import sys
from pathlib import Path

import pytest
import torch
import torch.distributed.checkpoint as dcp
from in_process import runner
from safetensors.torch import load_file, save_file
from torch import nn
from torch.distributed.checkpoint import TensorStorageMetadata

from course_utils.anatomy.archive import read_archive, read_tensors
from course_utils.checkpoint.load import load_checkpoint
from course_utils.ckpt.diff import diff
from course_utils.distributed.commit import read_record
from course_utils.distributed.files import CheckedReader
from course_utils.errors import (
    CheckpointError,
    DamagedCheckpointError,
    MissingCheckpointError,
    NotACheckpointError,
    UnreadableCheckpointError,
    UnsafeCheckpointError,
    UnsupportedCheckpointError,
)
from course_utils.files.contents import open_contents
from course_utils.partial.plan import plan_partial_load
from course_utils.safety.audit import audit
from course_utils.safety.convert import convert

TESTS = Path(__file__).parents[1]
pytestmark = pytest.mark.filterwarnings("ignore:torch.distributed is disabled")
OURS = sorted((TESTS / "distributed" / "data").glob("torch_*/step-*")) + sorted(
    (TESTS / "data" / "build_0_1").glob("sharded*/step-*")
)


run = pytest.fixture(runner)


@pytest.fixture
def model():
    torch.manual_seed(3)
    return nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3), nn.Linear(3, 2))


@pytest.fixture(params=["safetensors", "bin"])
def shards(tmp_path, model, request):
    """A state_dict in three shards, with its index."""
    return written(tmp_path / "shards", model.state_dict(), request.param)


def written(folder, state, suffix="safetensors", number=3):
    folder.mkdir()
    stem = "model" if suffix == "safetensors" else "pytorch_model"
    names = [f"{stem}-{i + 1:05}-of-{number:05}.{suffix}" for i in range(number)]
    owners = {key: names[i % number] for i, key in enumerate(state)}
    for name in names:
        part = {key: value for key, value in state.items() if owners[key] == name}
        (save_file if suffix == "safetensors" else torch.save)(part, folder / name)
    index = {"metadata": {"total_size": 1}, "weight_map": owners}
    (folder / f"{stem}.{suffix}.index.json").write_text(json.dumps(index))
    (folder / "config.json").write_text("{}")
    return folder


def index_of(folder):
    (path,) = folder.glob("*.index.json")
    return path


def test_shards_are_one_file_of_weights(shards, model, run, tmp_path):
    state = model.state_dict()
    for path in (shards, index_of(shards)):
        archive = read_archive(path)
        read = read_tensors(archive, archive.tensors)
        assert list(read) == list(state)
        assert all(torch.equal(read[name], value) for name, value in state.items())
    assert run("verify", shards)[0] == run("doctor", shards)[0] == run("audit", shards)[0] == 0
    convert(index_of(shards), tmp_path / "one.safetensors")
    one = load_file(tmp_path / "one.safetensors")
    assert all(torch.equal(one[name], value) for name, value in state.items())
    assert diff(shards, tmp_path / "one.safetensors", tensors_only=True).same
    with torch.no_grad():
        other = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3), nn.Linear(3, 2))
    plan_partial_load(other, shards).apply()
    assert all(torch.equal(other.state_dict()[name], value) for name, value in state.items())


def test_a_folder_of_checkpoints_has_a_line_for_each(shards, run):
    torch.save({"w": torch.ones(2)}, shards.parent / "a.pt")
    status, text = run("verify", shards.parent)
    assert status == 0
    assert len(text.splitlines()) == 3
    assert "2 files" in text


def test_a_missing_shard_is_named(shards, run):
    gone = sorted(shards.glob("*-00002-of-*"))[0]
    gone.unlink()
    for command in ("inspect", "verify", "doctor"):
        status, text = run(command, shards)
        assert status == 1
        assert f"without {gone.name}, listed in {index_of(shards).name}" in text
    with pytest.raises(DamagedCheckpointError, match=gone.name):
        convert(shards, shards.parent / "out.pt")


NOT_FETCHED = b"version https://git-lfs.github.com/spec/v1\noid sha256:aa\nsize 3\n"


@pytest.mark.parametrize(
    ("content", "words", "status"),
    [(b"", "is empty", 1), (bytes(300), "is not a checkpoint", 1), (NOT_FETCHED, "Git LFS", 2)],
)
def test_a_shard_that_is_none_is_a_fault_of_the_folder(shards, run, content, words, status):
    bad = sorted(shards.glob("*-00002-of-*"))[0]
    bad.write_bytes(content)
    for command in ("inspect", "verify", "doctor"):
        for place in (shards, index_of(shards)):
            found, text = run(command, place)
            assert found == status
            assert f"is not whole: {bad}" in text
            assert words in text
    assert run("audit", shards)[0] == 1
    assert audit(shards).findings[0].where == bad.name


def test_a_model_whose_weights_were_not_fetched(tmp_path, run):
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "model.safetensors").write_bytes(NOT_FETCHED)
    for command in ("inspect", "verify", "doctor"):
        status, text = run(command, tmp_path)
        assert status == 2
        assert "git lfs pull" in text
    assert run("audit", tmp_path)[0] == 1


def test_links_as_in_the_cache_of_hugging_face(shards, run):
    blobs, snapshot = shards.parent / "blobs", shards.parent / "snapshot"
    blobs.mkdir()
    snapshot.mkdir()
    for number, path in enumerate(sorted(shards.iterdir())):
        path.rename(blobs / str(number))
        os.symlink(f"../blobs/{number}", snapshot / path.name)
    assert (
        run("verify", snapshot)[0] == run("doctor", snapshot)[0] == run("audit", snapshot)[0] == 0
    )
    copied = shards.parent / "elsewhere" / "snapshot"  # without what its links lead to
    shutil.copytree(snapshot, copied, symlinks=True)
    for command in ("inspect", "verify", "audit", "doctor"):
        status, text = run(command, copied)
        assert status == 2
        assert "is a link to ../blobs/" in text


def test_a_variant_in_the_name_of_an_index(shards, model, run):
    index = index_of(shards)
    content = json.loads(index.read_text())
    for path in shards.glob("*-of-*"):
        path.rename(path.with_name(f"{path.stem}.fp16{path.suffix}"))
    for key, name in content["weight_map"].items():
        content["weight_map"][key] = name.replace("-of-00003", "-of-00003.fp16")
    index.unlink()
    index.with_name(index.name.replace(".json", ".fp16.json")).write_text(json.dumps(content))
    assert run("verify", shards)[0] == 0
    assert len(open_contents(shards).tensors) == len(model.state_dict())


def test_a_surplus_shard_is_named_and_not_read(shards, run):
    (first,) = shards.glob("*-00001-of-*")
    old = first.with_name(first.name.replace("00001-of-00003", "00004-of-00005"))
    shutil.copy(first, old)
    status, text = run("verify", shards)
    assert status == 1
    assert f"{old.name}: not in {index_of(shards).name}" in text
    assert len(open_contents(shards).files) == 3


def change_index(folder, change):
    path = index_of(folder)
    index = json.loads(path.read_text())
    change(index["weight_map"])
    path.write_text(json.dumps(index))


def test_a_key_that_the_index_does_not_list_is_named(shards, run):
    change_index(shards, lambda owners: owners.pop("0.weight"))
    status, text = run("verify", shards)
    assert (status, "does not list 0.weight" in text) == (1, True)


def test_a_key_in_another_shard_than_the_index_says(shards):
    change_index(shards, lambda owners: owners.update({"0.weight": owners["0.bias"]}))
    with pytest.raises(DamagedCheckpointError, match=r"not where .* says: 0\.weight"):
        open_contents(shards)


def test_a_key_that_no_shard_has(shards):
    change_index(shards, lambda owners: owners.update({"9.weight": owners["0.bias"]}))
    with pytest.raises(DamagedCheckpointError, match=r"not where .* says: 9\.weight"):
        open_contents(shards)


def test_a_key_in_two_shards(tmp_path):
    folder = written(tmp_path / "a", {"x": torch.ones(1), "y": torch.ones(1)}, number=2)
    save_file(
        {"x": torch.zeros(1), "y": torch.ones(1)}, folder / "model-00002-of-00002.safetensors"
    )
    with pytest.raises(DamagedCheckpointError, match="in more than one shard: x"):
        open_contents(folder)


def test_a_key_twice_in_the_index(shards):
    path = index_of(shards)
    path.write_text(path.read_text().replace('"0.bias":', '"0.weight":'))
    with pytest.raises(DamagedCheckpointError, match=r"'0\.weight' stands in it twice"):
        open_contents(shards)


@pytest.mark.parametrize("name", ["../secret.safetensors", "/etc/passwd"])
def test_names_in_an_index_lead_nowhere_else(shards, name):
    save_file({"0.weight": torch.ones(1)}, shards.parent / "secret.safetensors")
    change_index(shards, lambda owners: owners.update({"0.weight": name}))
    with pytest.raises(DamagedCheckpointError, match="without"):
        open_contents(shards)


def test_damage_in_a_shard_is_found(tmp_path, model, run):
    shards = written(tmp_path / "shards", model.state_dict(), "bin")
    (shard,) = shards.glob("*-00001-of-*")
    record = next(r for r in open_contents(shard).records.values() if r.name == "data/0")
    data = bytearray(shard.read_bytes())
    data[record.offset] ^= 1
    shard.write_bytes(data)
    status, text = run("verify", shards)
    assert status == 1
    assert f"{shard.name}: data/0" in text
    assert "0.weight" in text
    with pytest.raises(DamagedCheckpointError):
        convert(shards, tmp_path / "out.safetensors")
    with pytest.raises(DamagedCheckpointError):
        read_tensors(read_archive(shards), ["0.weight"])


def test_a_hostile_shard_is_found(tmp_path, model):
    shards = written(tmp_path / "shards", model.state_dict(), "bin")
    (shard,) = shards.glob("*-00003-of-*")
    torch.save({"x": Evil()}, shard)
    found = audit(shards)
    assert found.verdict.value == "would run code"
    assert shard.name in found.findings[0].where


def test_a_hostile_shard_of_any_name_is_found(tmp_path, model):
    shards = written(tmp_path / "shards", model.state_dict(), "bin")
    torch.save({"x": Evil()}, shards / "weights.dat")
    change_index(shards, lambda owners: owners.update({"x": "weights.dat"}))
    for path in (shards, index_of(shards)):
        found = audit(path)
        assert found.verdict.value == "would run code"
        assert found.findings[0].where.startswith("weights.dat")


@pytest.mark.parametrize("lost", ["a shard", "the index"])
def test_what_is_not_there_is_not_called_plain_data(shards, lost, run):
    if lost == "a shard":
        next(shards.glob("*-00002-of-*")).unlink()
    else:
        index_of(shards).write_text('{"weight_map": ')
    for path in (shards, index_of(shards)):
        status, text = run("audit", path)
        assert status == 1
        assert "plain data" not in text


class Evil:
    def __reduce__(self):
        return print, ("ran",)


@pytest.mark.parametrize(
    "names",
    [
        ["mp_rank_00_model_states.pt", "bf16_zero_pp_rank_0_mp_rank_00_optim_states.pt"],
        ["zero_pp_rank_0_mp_rank_00_model_states.pt"],
        ["latest", "zero_to_fp32.py", "random_states_0.pkl", "scheduler.bin"],
    ],
)
def test_a_folder_of_deepspeed_is_named(tmp_path, names, run):
    folder = tmp_path / "deep"
    folder.mkdir()
    for name in names:
        torch.save({"module": {"w": torch.ones(2)}}, folder / name)
    with pytest.raises(NotACheckpointError, match=r"DeepSpeed.*zero_to_fp32\.py"):
        convert(folder, tmp_path / "out.safetensors")
    assert run("inspect", folder)[0] == 0  # file by file


def test_two_indexes_are_not_one_checkpoint(shards, run):
    text = index_of(shards).read_text()
    (shards / "other.safetensors.index.json").write_text(text)
    with pytest.raises(CheckpointError, match="not one that is known to be one checkpoint"):
        open_contents(shards)
    assert open_contents(shards / "other.safetensors.index.json").tensors


def test_rewriting_commands_name_the_way(shards, run):
    for command in ("slim", "strip-prefix"):
        status, text = run(command, shards, shards.parent / "out.pt")
        assert status == 2
        assert "ckpt convert" in text


STATE = {
    "model": {"w": torch.arange(12.0).reshape(3, 4), "b": torch.ones(3, dtype=torch.bfloat16)},
    "optimizer": {"groups": [{"lr": 0.1}, {"lr": 0.2}], "step": torch.tensor(4)},
    "epoch": 2,
    "names": ["a", "b"],
}


@pytest.fixture
def distributed(tmp_path):
    folder = tmp_path / "step"
    dcp.save(STATE, checkpoint_id=folder)
    return folder


def test_what_dcp_wrote_is_what_dcp_loads(distributed, tmp_path, run):
    convert(distributed, tmp_path / "one.pt")
    state = torch.load(tmp_path / "one.pt")
    assert list(state) == list(STATE)
    assert state["epoch"] == 2
    assert state["names"] == ["a", "b"]
    assert state["optimizer"]["groups"] == [{"lr": 0.1}, {"lr": 0.2}]
    assert torch.equal(state["model"]["w"], STATE["model"]["w"])
    assert torch.equal(state["model"]["b"], STATE["model"]["b"])
    assert diff(distributed, tmp_path / "one.pt").same
    for command in ("inspect", "verify", "audit", "doctor"):
        assert run(command, distributed)[0] == 0


def test_the_index_stands_for_its_folder(distributed):
    assert list(open_contents(distributed / ".metadata").tensors) == [
        "model.w", "model.b", "optimizer.step",
    ]  # fmt: skip


def test_a_distributed_save_that_did_not_end(distributed, run):
    (distributed / ".metadata").unlink()
    for command in ("inspect", "verify", "doctor", "audit"):
        status, text = run(command, distributed)
        assert status == 1
        assert "the save did not end" in text


def test_a_distributed_folder_without_one_of_its_files(distributed, run):
    (distributed / "__0_0.distcp").unlink()
    (distributed / "__1_0.distcp").write_bytes(b"")
    with pytest.raises(DamagedCheckpointError, match=r"does not have: '__0_0\.distcp'"):
        open_contents(distributed)
    (distributed / "__1_0.distcp").unlink()
    for command in ("inspect", "verify", "audit", "doctor"):
        status, text = run(command, distributed)
        assert status == 1
        assert "'__0_0.distcp'" in text


def test_zeros_in_the_place_of_a_distributed_file(distributed, run):
    path = distributed / "__0_0.distcp"
    path.write_bytes(bytes(path.stat().st_size))
    for command in ("inspect", "verify", "audit", "doctor"):
        assert run(command, distributed)[0] == 1


def test_a_distributed_file_that_was_cut_off(distributed):
    path = distributed / "__0_0.distcp"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(DamagedCheckpointError, match="beyond the file's end"):
        open_contents(distributed)


def test_every_bit_of_a_distributed_file_counts(distributed, run):
    path = distributed / "__0_0.distcp"
    whole = path.read_bytes()
    for position in range(0, len(whole), 97):
        data = bytearray(whole)
        data[position] ^= 4
        path.write_bytes(data)
        assert run("verify", distributed)[0] == 1, position


def test_a_hostile_index_is_refused(distributed):
    import pickle

    (distributed / ".metadata").write_bytes(pickle.dumps(Evil(), protocol=4))
    assert audit(distributed).verdict.value == "would run code"
    with pytest.raises(UnsafeCheckpointError, match=r"builtins\.print"):
        open_contents(distributed)


def test_a_hostile_value_is_found(tmp_path):
    dcp.save({"x": Evil()}, checkpoint_id=tmp_path / "d")
    assert audit(tmp_path / "d").verdict.value == "would run code"


@pytest.mark.parametrize("folder", OURS, ids=lambda path: f"{path.parent.name}")
def test_folders_of_older_versions(folder, run):
    for command in ("inspect", "verify", "audit"):
        assert run(command, folder)[0] == 0
    contents = read_archive(folder)
    read = read_tensors(contents, contents.tensors)
    # torch's own reader fails on an index of a later torch.
    reader = CheckedReader(folder, read_record(folder))
    room = {
        name: torch.empty(info.size, dtype=info.properties.dtype)
        for name, info in reader.read_metadata().state_dict_metadata.items()
        if isinstance(info, TensorStorageMetadata)
    }
    dcp.load(room, storage_reader=reader)
    assert room
    assert all(torch.equal(read[name], value) for name, value in room.items())


@pytest.mark.parametrize("change", ["gone", "longer", "flipped", "outside"])
def test_the_commit_record_is_kept_to(tmp_path, run, change):
    folder = tmp_path / "step-00000002"
    shutil.copytree(OURS[0], folder)
    (file,) = folder.glob("*.distcp")
    record = folder / "commit.json"
    if change == "gone":
        text = record.read_text().replace('".metadata"', '"__9_0.distcp"')
        record.write_text(text)
    elif change == "longer":
        file.write_bytes(file.read_bytes() + b"\0")
    elif change == "flipped":
        data = bytearray(file.read_bytes())
        data[-1] ^= 1  # of the last value's directory
        file.write_bytes(data)
    else:
        record.write_text(record.read_text().replace('"__0_0.distcp"', '"../../secret"'))
    assert run("verify", folder)[0] == 1


PROGRAM = """
import sys, torch, torch.distributed as dist, torch.distributed.checkpoint as dcp
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import Replicate, Shard, distribute_tensor
rank, folder, rendezvous = int(sys.argv[1]), sys.argv[2], sys.argv[3]
dist.init_process_group("gloo", init_method=f"file://{rendezvous}", rank=rank, world_size=2)
mesh = init_device_mesh("cpu", (2,))
whole = torch.arange(35.0).reshape(5, 7)
state = {
    "rows": distribute_tensor(whole, mesh, [Shard(0)]),
    "columns": distribute_tensor(whole.t().contiguous(), mesh, [Shard(1)]),
    "copies": distribute_tensor(whole, mesh, [Replicate()]),
    "one_row": distribute_tensor(whole[:1], mesh, [Shard(0)]),
}
dcp.save(state, checkpoint_id=folder)
pieces = dcp.HuggingFaceStorageWriter(folder + "_pieces", save_distributed=True)
dcp.save(state, storage_writer=pieces)
"""


def test_pieces_of_dtensors_are_joined(tmp_path, run):
    import subprocess

    folder = tmp_path / "saved"
    commands = [
        [sys.executable, "-c", PROGRAM, str(rank), str(folder), str(tmp_path / "meet")]
        for rank in range(2)
    ]
    ranks = [subprocess.Popen(command, stderr=subprocess.PIPE) for command in commands]
    assert [(p.communicate(timeout=120)[1][-500:], p.returncode)[1] for p in ranks] == [0, 0]
    whole = torch.arange(35.0).reshape(5, 7)
    for written_so in (folder, tmp_path / "saved_pieces"):
        archive = read_archive(written_so)
        read = read_tensors(archive, archive.tensors)
        assert torch.equal(read["rows"], whole)
        assert torch.equal(read["columns"], whole.t())
        assert torch.equal(read["copies"], whole)
        assert torch.equal(read["one_row"], whole[:1])
    assert run("verify", folder)[0] == 0
    convert(folder, tmp_path / "one.safetensors")
    assert torch.equal(load_file(tmp_path / "one.safetensors")["columns"], whole.t())
    assert_a_changed_block_is_found(folder, whole.t()[:, 3:].contiguous().numpy().tobytes())


def assert_a_changed_block_is_found(folder, block):
    """Change the last byte of the block of one rank, and read what it is a part of."""
    layer = nn.Linear(5, 7, bias=False)
    plan = plan_partial_load(layer, folder, rename={"columns": "weight"}.get)
    plan.apply()
    (path,) = (p for p in folder.glob("*.distcp") if block in p.read_bytes())
    data = path.read_bytes()
    end = data.index(block) + len(block)
    path.write_bytes(data[: end - 1] + bytes([data[end - 1] ^ 1]) + data[end:])
    archive = read_archive(folder)
    with pytest.raises(DamagedCheckpointError, match=r"__1_0.* \(tensor columns\).*CRC-32"):
        read_tensors(archive, ["columns"])
    with pytest.raises(DamagedCheckpointError, match="CRC-32"):
        plan_partial_load(layer, folder, rename={"columns": "weight"}.get).apply()
    read_tensors(archive, ["columns"], verify=False)
    read_tensors(archive, ["rows"])


def test_shards_of_two_byte_orders_are_refused(tmp_path, model):
    import zipfile

    shards = written(tmp_path / "shards", model.state_dict(), "bin", number=2)
    (shard,) = shards.glob("*-00002-of-*")
    with zipfile.ZipFile(shard) as old:
        parts = {name: old.read(name) for name in old.namelist()}
    with zipfile.ZipFile(shard, "w") as new:
        for name, data in parts.items():
            new.writestr(name, b"big" if name.endswith("byteorder") else data)
    with pytest.raises(UnsupportedCheckpointError, match="big-endian"):
        open_contents(shards)


def test_a_folder_of_more_files_than_a_process_may_open(tmp_path, run):
    state = {f"w{i}": torch.full((2,), float(i)) for i in range(150)}
    shards = written(tmp_path / "shards", state, number=150)
    before = len(os.listdir("/proc/self/fd"))
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (before + 100, hard))
    try:
        for command in ("inspect", "verify", "audit", "doctor"):
            assert run(command, shards)[0] == 0, command
        convert(shards, tmp_path / "one.safetensors")
        assert diff(shards, tmp_path / "one.safetensors", tensors_only=True).same
        archive = read_archive(shards)
        found = read_tensors(archive, archive.tensors)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert all(torch.equal(found[name], state[name]) for name in state)


@pytest.mark.parametrize("how", ["replaced", "changed", "gone"])
def test_a_file_that_is_no_longer_the_one_that_was_opened(tmp_path, how):
    state = {f"w{i}": torch.full((2,), float(i)) for i in range(70)}
    shards = written(tmp_path / "shards", state, number=70)
    archive = read_archive(shards)
    first = shards / "model-00001-of-00070.safetensors"
    other = first.read_bytes()[:-8] + bytes(8)
    if how == "changed":
        first.write_bytes(other)
    else:
        first.unlink()
    if how == "replaced":
        first.with_name("new").write_bytes(other)
        first.with_name("new").rename(first)
    error = MissingCheckpointError if how == "gone" else UnreadableCheckpointError
    with pytest.raises(error, match="model-00001-of-00070"):
        read_tensors(archive, ["w0"])
    assert torch.equal(read_tensors(archive, ["w69"])["w69"], state["w69"])


def pieces(folder):
    """What two processes write with HuggingFaceStorageWriter, before it is joined."""
    folder.mkdir()
    whole = torch.arange(12.0).reshape(4, 3)
    for number, rows in enumerate([whole[:3], whole[3:]]):
        places = {"w": {"saved_offsets": [3 * number, 0]}, f"b{number}": {"saved_offsets": [0]}}
        save_file(
            {"w": rows.contiguous(), f"b{number}": torch.ones(2)},
            folder / f"shard-{number + 1:05}-model-00001-of-00001.safetensors",
            {"format": "pt", "DCP_SHARDING_INFO": json.dumps(places)},
        )
    return whole


def test_safetensors_pieces_are_joined(tmp_path, run):
    whole = pieces(tmp_path / "pieces")
    assert convert(tmp_path / "pieces", tmp_path / "one.safetensors").tensors == 3
    assert torch.equal(load_file(tmp_path / "one.safetensors")["w"], whole)
    for command in ("inspect", "verify", "audit", "doctor"):
        assert run(command, tmp_path / "pieces")[0] == 0
    assert diff(tmp_path / "pieces", tmp_path / "one.safetensors", tensors_only=True).same
    layer = nn.Linear(3, 4, bias=False)
    plan_partial_load(layer, tmp_path / "pieces", rename={"w": "weight"}.get).apply()
    assert torch.equal(layer.weight, whole)


def test_a_piece_alone_is_no_tensor(tmp_path, run):
    pieces(tmp_path / "pieces")
    second = tmp_path / "pieces" / "shard-00002-model-00001-of-00001.safetensors"
    assert "block of a larger tensor, from (3, 0) on" in run("inspect", second)[1]
    for act in (
        lambda: convert(second, tmp_path / "one.safetensors"),
        lambda: load_checkpoint(second),
        lambda: plan_partial_load(nn.Linear(3, 1), second, rename={"w": "weight"}.get),
    ):
        with pytest.raises(UnsupportedCheckpointError, match="block of a larger tensor"):
            act()
    second.rename(second.with_name("shard-00001-model-00001-of-00001.safetensors"))
    with pytest.raises(DamagedCheckpointError, match=r"w: its 1 pieces do not cover \(4, 3\)"):
        open_contents(tmp_path / "pieces")

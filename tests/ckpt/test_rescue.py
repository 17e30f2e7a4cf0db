"""What is saved is what was there; what is not proved is lost by name."""

import os
import pickle
import zipfile

import pytest
import torch
from safetensors.torch import save_file

from course_utils.checkpoint import save_checkpoint
from course_utils.ckpt.main import main
from course_utils.ckpt.rescue import rescue
from course_utils.errors import (
    CheckpointWriteError,
    DamagedCheckpointError,
    NotACheckpointError,
    UnsupportedCheckpointError,
)
from course_utils.files.contents import damaged_records, open_contents
from course_utils.resume.compare import differences


@pytest.fixture
def files(tmp_path):
    return tmp_path / "damaged.pt", tmp_path / "out.pt"


def training_state():
    torch.manual_seed(0)
    return {
        "model": {f"w{number}": torch.rand(500 + number) for number in range(6)},
        "list": [torch.rand(3), torch.rand(4)],
        "epoch": 3,
        "empty": torch.rand(0),
        "storage": torch.arange(9).untyped_storage(),
    }


def flip(path, record):
    found = open_contents(path).records[record]
    data = bytearray(path.read_bytes())
    data[found.offset + found.size // 2] ^= 4
    path.write_bytes(data)


writers = pytest.mark.parametrize(
    "write", [lambda state, path: torch.save(state, path), lambda s, p: save_checkpoint(p, s)],
    ids=["torch", "ours"],
)  # fmt: skip


@writers
def test_a_flipped_bit_costs_one_tensor(files, write):
    state = training_state()
    write(state, files[0])
    flip(files[0], "data/2")
    done = rescue(*files)
    assert done.lost == ("model.w2",)
    assert len(done.saved) == 8
    assert "9 tensors, each proved" in str(done)
    assert "lost: model.w2" in str(done)
    loaded = torch.load(files[1], weights_only=True)
    del state["model"]["w2"]
    assert bytes(loaded.pop("storage")) == bytes(state.pop("storage"))
    assert not differences(loaded, state)
    assert not damaged_records(files[1])


def test_a_sound_file_needed_no_rescue(files, capsys):
    save_checkpoint(files[0], training_state())
    assert main(["rescue", *map(str, files)]) == 0
    assert "is sound: it needed no rescue" in capsys.readouterr().out
    flip(files[0], "data/2")
    assert main(["rescue", *map(str, files), "--force"]) == 1


@pytest.mark.parametrize("cut", [1, 500, 9000])
def test_what_was_saved_of_a_file_that_was_cut_off_is_said(files, capsys, cut):
    save_checkpoint(files[0], training_state())
    os.truncate(files[0], files[0].stat().st_size - cut)
    assert main(["rescue", *map(str, files)]) == 1
    assert "tensors, each proved" in capsys.readouterr().out
    assert not damaged_records(files[1])


@writers
@pytest.mark.parametrize("part", [0.3, 0.5, 0.9, 0.999])
def test_a_file_that_was_cut_off(files, write, part):
    state = training_state()
    write(state, files[0])
    whole = open_contents(files[0]).records
    size = int(files[0].stat().st_size * part)
    os.truncate(files[0], size)
    done = rescue(*files)
    loaded = torch.load(files[1], weights_only=True)
    for number in range(6):
        name, record = f"w{number}", whole[f"data/{number}"]
        assert (name in loaded["model"]) == (record.offset + record.size + 16 <= size) or (
            abs(record.offset + record.size - size) <= 16  # its bytes, but not all behind them
        )
        assert (f"model.{name}" in done.saved) == (name in loaded["model"])
        if name in loaded["model"]:
            assert torch.equal(loaded["model"][name], state["model"][name])
    assert loaded["epoch"] == 3
    for mine, there in zip(loaded["list"], state["list"], strict=True):
        assert mine.is_meta or torch.equal(mine, there)
        assert mine.shape == there.shape


@writers
def test_whatever_byte_is_hit_nothing_wrong_is_saved(files, write):
    state = {"a": torch.arange(5), "b": [torch.arange(3.0)], "c": torch.arange(4).half()}
    write(state, files[0])
    whole = files[0].read_bytes()
    for position in range(0, len(whole), 7):
        data = bytearray(whole)
        data[position : position + 3] = bytes(b ^ 0x5A for b in data[position : position + 3])
        files[0].write_bytes(data)
        try:
            rescue(*files, overwrite=True)
        except (DamagedCheckpointError, NotACheckpointError, UnsupportedCheckpointError):
            continue
        loaded = torch.load(files[1], weights_only=True)
        for name in ("a", "c"):
            assert name not in loaded or torch.equal(loaded[name], state[name])
        assert loaded["b"][0].is_meta or torch.equal(loaded["b"][0], state["b"][0])


def test_parts_of_other_tensors_and_storages(files):
    sparse = torch.sparse_coo_tensor([[0, 1]], torch.tensor([1.0, 2.0]), (4,))
    state = {"s": sparse, "t": torch.ones(3), "storage": torch.arange(50).untyped_storage()}
    torch.save(state, files[0])
    flip(files[0], open_contents(files[0]).tensors["s.1.1"].record)
    assert rescue(*files).lost == ("s",)
    assert set(torch.load(files[1])) == {"t", "storage"}
    flip(files[0], "data/3")
    done = rescue(*files, overwrite=True)
    assert done.notes == ("lost: record data/3, which no tensor shows",)
    assert torch.load(files[1])["storage"].nbytes() == 0


def test_a_lost_pickle_a_file_without_checksums_and_another_kind(files):
    torch.save(training_state(), files[0])
    flip(files[0], "data.pkl")
    with pytest.raises(DamagedCheckpointError, match=r"nothing can be rescued, as its data\.pkl"):
        rescue(*files)
    save_file({"w": torch.ones(2)}, files[0])
    with pytest.raises(UnsupportedCheckpointError, match="a safetensors file has no checksums"):
        rescue(*files)
    os.truncate(files[0], files[0].stat().st_size - 1)
    with pytest.raises(DamagedCheckpointError, match="its tensors end at byte"):
        rescue(*files)
    files[0].write_text("hello")
    with pytest.raises(NotACheckpointError):
        rescue(*files)
    files[0].write_bytes(pickle.dumps({"w": 1}))
    with pytest.raises(NotACheckpointError, match="is a plain pickle"):
        rescue(*files)
    with zipfile.ZipFile(files[0], "w") as archive:
        archive.writestr("a/constants.pkl", pickle.dumps(1, 2))
    with pytest.raises(UnsupportedCheckpointError, match="is a TorchScript archive"):
        rescue(*files)
    assert not files[1].exists()


def test_bytes_after_the_end_are_no_damage(files, capsys):
    save_checkpoint(files[0], training_state())
    with files[0].open("ab") as file:
        file.write(bytes(100))
    assert main(["rescue", *map(str, files)]) == 0
    said = capsys.readouterr().out
    assert "100 bytes follow the end" in said
    assert "is not damaged, as far as can be told: it needed no rescue" in said


def test_nothing_is_overwritten_unasked_and_never_the_source(files):
    torch.save(training_state(), files[0])
    files[1].write_text("mine")
    with pytest.raises(CheckpointWriteError, match="exists already"):
        rescue(*files)
    with pytest.raises(CheckpointWriteError, match="the file that is read"):
        rescue(files[0], files[0], overwrite=True)
    assert files[1].read_text() == "mine"

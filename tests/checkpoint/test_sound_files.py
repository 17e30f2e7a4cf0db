"""Sound files that are not as torch.save writes today: no tool calls them damaged."""

import argparse
import sys
import warnings
import zipfile

import pytest
import torch
from torch import nn

from course_utils.anatomy import read_archive, read_tensors
from course_utils.checkpoint import load_checkpoint, restore_checkpoint
from course_utils.checkpoint.torch_versions import safe_loader_is_broken, version
from course_utils.ckpt.main import main
from course_utils.ckpt.rescue import rescue
from course_utils.errors import (
    CheckpointError,
    DamagedCheckpointError,
    UnsafeCheckpointError,
    UnsupportedCheckpointError,
)
from course_utils.files.contents import verify
from course_utils.formats.judge import Verdict
from course_utils.safety import audit, convert, load_untrusted

pytestmark = pytest.mark.filterwarnings("ignore")
STATE = {"w": torch.arange(400.0), "b": torch.ones(2, 2)}


def refused(kind, words):
    """Expect a refusal; before 2.10 the audit comes first, and has words of its own."""
    if safe_loader_is_broken():
        return pytest.raises(UnsafeCheckpointError, match="CVE")
    return pytest.raises(kind, match=words)


def compressed(path):
    torch.save(STATE, path)
    with zipfile.ZipFile(path) as archive:
        records = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in records.items():
            archive.writestr(name, data)


def followed(path):
    torch.save(STATE, path)
    path.write_bytes(path.read_bytes() + b"\n-- uploaded by a program that adds a line\n")


def without_checksums(path):
    torch.serialization.set_crc32_options(False)
    try:
        torch.save(STATE, path)
    finally:
        torch.serialization.set_crc32_options(True)


def deep(path):
    nested = 1
    for _ in range(300):
        nested = [nested]
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(10_000)
    try:
        torch.save({**STATE, "nested": nested}, path)
    finally:
        sys.setrecursionlimit(limit)


def odd_keys(path):
    torch.save({**STATE, "ids": {2**63 + 977 * i: i for i in range(10)}, "x": {2**70: 1}}, path)


def quantized(path):
    scales, zeros = torch.ones(4), torch.zeros(4)
    q = torch.quantize_per_channel(torch.ones(4, 4), scales, zeros, 0, torch.quint4x2)
    torch.save({**STATE, "q": q}, path)


def nested(path):
    torch.save({**STATE, "n": torch.nested.nested_tensor([torch.ones(2), torch.ones(3)])}, path)


def jagged(path):
    """Torch allows what it is made of if torch._dynamo was there at its first load."""
    import torch._dynamo

    torch._weights_only_unpickler._get_allowed_globals.cache_clear()
    rows = [torch.ones(2), torch.ones(3)]
    torch.save({**STATE, "n": torch.nested.nested_tensor(rows, layout=torch.jagged)}, path)


def referred_to(path):
    settings = {f"option {i}": i for i in range(40)}
    torch.save({**STATE, "layers": [settings] * 2000}, path)


def later_protocol(path):
    torch.save(STATE, path, pickle_protocol=4)


SOUND = [
    compressed, followed, without_checksums, deep, odd_keys, quantized, nested, jagged, referred_to,
    later_protocol,
]  # fmt: skip
UNVERIFIABLE = [followed, without_checksums]


@pytest.mark.parametrize("write", SOUND, ids=lambda write: write.__name__)
def test_every_tool_takes_it_for_what_it_is(tmp_path, write, capsys):
    path = tmp_path / "file.pt"
    write(path)
    wanted = "readable, not verifiable" if write in UNVERIFIABLE else "sound"
    assert verify(path).verdict.value == wanted
    assert audit(path).verdict.value in ("plain data", "needs these globals")
    archive = read_archive(path)
    found = read_tensors(archive, ["w", "b"])
    assert all(torch.equal(found[name], STATE[name]) for name in STATE)
    for command in ("inspect", "verify", "doctor", "audit"):
        main([command, str(path)])
    convert(path, tmp_path / "out.pt")
    said = capsys.readouterr()
    assert "damaged" not in said.out + said.err
    assert torch.equal(torch.load(tmp_path / "out.pt", weights_only=False)["w"], STATE["w"])


@pytest.mark.parametrize("write", [w for w in SOUND if w is not later_protocol])
def test_what_torch_loads_is_loaded(tmp_path, write):
    write(tmp_path / "file.pt")
    if write in (nested, jagged) and not (2, 10) <= version() < (2, 15):
        # Before, only plain data is loaded; since, torch itself takes them for more than that.
        with pytest.raises(UnsafeCheckpointError, match="refused"):
            load_checkpoint(tmp_path / "file.pt")
        return
    loaded = load_checkpoint(tmp_path / "file.pt")
    assert all(torch.equal(loaded[name], STATE[name]) for name in STATE)


def test_a_later_protocol_is_told_with_the_way_out(tmp_path):
    path = tmp_path / "file.pt"
    later_protocol(path)
    for load in (load_checkpoint, load_untrusted):
        with pytest.raises(UnsupportedCheckpointError, match=r"plain data.*convert file\.pt NEW"):
            load(path)
    assert main(["convert", str(path), str(tmp_path / "new.pt")]) == 0
    assert torch.equal(load_checkpoint(tmp_path / "new.pt")["w"], STATE["w"])


@pytest.mark.parametrize("state", [STATE, {"a": argparse.Namespace(lr=1)}])
def test_torchs_advice_to_load_whatever_it_is_is_not_passed_on(tmp_path, state):
    path = tmp_path / "file.pt"
    torch.save(state, path, pickle_protocol=4, _use_new_zipfile_serialization=False)
    with pytest.raises(CheckpointError, match=r"Unsupported|CVE") as raised:
        load_checkpoint(path)
    assert "weights_only" not in str(raised.value)
    assert len(str(raised.value)) < 500


def test_a_file_without_checksums_is_loaded_with_a_warning(tmp_path):
    path = tmp_path / "unchecked.pt"
    without_checksums(path)
    with pytest.warns(UserWarning, match=r"unchecked\.pt: loaded, but not verified"):
        load_checkpoint(path)
    layer = torch.nn.Linear(2, 2)
    torch.serialization.set_crc32_options(False)
    torch.save(torch.nn.Linear(2, 2).state_dict(), path)
    torch.serialization.set_crc32_options(True)
    restore_checkpoint(path, layer)
    assert torch.equal(layer.weight, torch.load(path)["weight"])


def test_a_changed_byte_in_a_compressed_record_is_damage(tmp_path):
    path = tmp_path / "file.pt"
    compressed(path)
    place = read_archive(path).records["data/0"].offset
    content = bytearray(path.read_bytes())
    content[place + 3] ^= 1
    path.write_bytes(content)
    with pytest.raises(DamagedCheckpointError, match="data/0"):
        load_checkpoint(path)


class Config:
    def __getstate__(self):
        return {"version": 3}

    def __setstate__(self, state):
        raise ValueError("a field is missing")


def test_the_error_of_a_class_is_no_damage(tmp_path):
    torch.save({"c": Config(), **STATE}, tmp_path / "file.pt")
    told = (UnsupportedCheckpointError, "as they were written.*a field is missing")
    if safe_loader_is_broken():
        told = (UnsafeCheckpointError, "the safe loader of PyTorch")
    with torch.serialization.safe_globals([Config]), pytest.raises(told[0], match=told[1]):
        load_checkpoint(tmp_path / "file.pt")


def test_nothing_is_said_of_a_sound_file(tmp_path):
    torch.save(STATE, tmp_path / "file.pt")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        load_checkpoint(tmp_path / "file.pt")


def repacked(path, change):
    """Write a checkpoint anew, each record as ``change`` gives it: any number of contents."""
    torch.save({"a": torch.ones(3), "b": torch.zeros(4)}, path)
    with zipfile.ZipFile(path) as old:
        records = [(name, old.read(name)) for name in old.namelist()]
    with warnings.catch_warnings(), zipfile.ZipFile(path, "w") as new:
        warnings.simplefilter("ignore")  # of a name that is there twice
        for name, content in records:
            for changed in change(content) if name.endswith("data/0") else [content]:
                new.writestr(name, changed)
    return path


def test_a_record_larger_than_its_pickle_says_is_not_damaged(tmp_path):
    path = repacked(tmp_path / "a.pt", lambda content: [content + b"abcd"])
    found = audit(path)
    assert found.verdict is Verdict.MALFORMED
    assert found.findings[0].reason == "says that data/0 has 12 bytes, not 16"
    holder = nn.Module()
    for name, size in (("a", 3), ("b", 4)):
        holder.register_buffer(name, torch.zeros(size))
    for call in (load_checkpoint, lambda path: restore_checkpoint(path, holder)):
        with refused(UnsupportedCheckpointError, r"data/0 has 16 bytes.*ckpt convert"):
            call(path)
    convert(path, tmp_path / "b.safetensors")
    assert load_checkpoint(tmp_path / "b.safetensors")["a"].tolist() == [1, 1, 1]


def test_a_record_that_is_missing_is_called_that(tmp_path):
    path = repacked(tmp_path / "a.pt", lambda content: [])
    with refused(DamagedCheckpointError, r"data/0 \(tensor a\): it is missing"):
        load_checkpoint(path)


def test_of_two_records_of_one_name_none_is_rescued(tmp_path):
    path = repacked(tmp_path / "a.pt", lambda content: [content, content[::-1]])
    with pytest.raises(DamagedCheckpointError, match=r"called.*data/0.*overwritten, or made so;"):
        load_checkpoint(path)
    assert rescue(path, tmp_path / "b.pt").lost == ("a",)
    assert load_checkpoint(tmp_path / "b.pt").keys() == {"b"}

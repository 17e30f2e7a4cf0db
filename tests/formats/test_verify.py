"""One verifier: loading, `verify` and `doctor` agree on every byte of a file."""

import io
import random
import zipfile

import pytest
import torch

from course_utils.anatomy import read_archive
from course_utils.checkpoint import load_checkpoint, restore_checkpoint, save_checkpoint
from course_utils.checkpoint.torch_versions import version
from course_utils.ckpt.doctor import examine
from course_utils.ckpt.main import main
from course_utils.errors import CheckpointError, UnsupportedCheckpointError
from course_utils.files.contents import damaged_records, open_contents, verify
from course_utils.formats import verify as formats_verify
from course_utils.formats.open import open_contents as open_source
from course_utils.formats.source import Memory
from course_utils.formats.verify import Severity, Verdict
from course_utils.resume.compare import differences
from course_utils.safety import convert

STATE = {"w": torch.arange(4.0), "n": 3}


def by_torch(path):
    torch.save(STATE, path)


def by_us(path):
    save_checkpoint(path, STATE)


def by_zipfile(path):
    """Pack torch's records anew, without alignment: another program's layout."""
    torch.save(STATE, path)
    with zipfile.ZipFile(path) as old:
        records = [(name, old.read(name)) for name in old.namelist()]
    with zipfile.ZipFile(path, "w") as new:
        for record in records:
            new.writestr(*record)


def refused_by_loading(path):
    try:
        load_checkpoint(path)
    except CheckpointError:
        return True
    return False


def refused_by_verify(path):
    try:
        return bool(verify(path).damage)
    except CheckpointError:
        return True


def refused_by_doctor(path):
    try:
        return any(complaint.topic == "damage" for complaint in examine(path))
    except CheckpointError:
        return True


def values_by_zipfile(path):
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None
        return [archive.read(name) for name in archive.namelist()]


@pytest.mark.parametrize("write", [by_torch, by_us, by_zipfile])
def test_three_agree_on_every_byte(tmp_path, write):
    """A byte that may be anything is one that torch, zipfile and we all pass over."""
    path, copy = tmp_path / "model.pt", tmp_path / "copy.pt"
    write(path)
    data, generator = path.read_bytes(), random.Random(0)
    free = 0
    for position in range(len(data)):
        changed = bytearray(data)
        changed[position] ^= generator.randint(1, 255)
        copy.write_bytes(changed)
        refusals = {refused_by_loading(copy), refused_by_verify(copy), refused_by_doctor(copy)}
        assert len(refusals) == 1, position
        if refusals == {False}:
            free += 1
            assert torch.equal(torch.load(copy)["w"], STATE["w"]), position
            assert torch.equal(load_checkpoint(copy)["w"], STATE["w"]), position
            assert values_by_zipfile(copy) == values_by_zipfile(path), position
    assert (free > 0) == (write is by_zipfile)  # torch's layout leaves no byte to chance


def test_a_sound_file_is_sound_and_every_record_was_compared(tmp_path):
    by_torch(tmp_path / "model.pt")
    found = verify(tmp_path / "model.pt")
    assert (found.verdict, found.findings) == (Verdict.SOUND, ())
    assert found.checked == len(open_contents(tmp_path / "model.pt").records)


@pytest.mark.parametrize("size", [100, 300_000, 5_000_000])
def test_threads_and_one_after_the_other_find_the_same(tmp_path, size):
    path = tmp_path / "model.pt"
    torch.save({"a": torch.zeros(size, dtype=torch.uint8), "b": torch.ones(3)}, path)
    data = bytearray(path.read_bytes())
    contents = open_source(Memory(bytes(data)), path)
    data[contents.records["data/0"].offset + size // 2] ^= 4
    path.write_bytes(data)
    by_one = formats_verify.verify(open_source(Memory(bytes(data)), path))
    assert verify(path) == by_one
    assert [(f.severity, f.record) for f in by_one.findings] == [(Severity.ERROR, "data/0")]
    assert list(damaged_records(path)) == ["data/0"]


def test_progress_counts_every_byte_of_the_records(tmp_path):
    path = tmp_path / "model.pt"
    torch.save(torch.zeros(3_000_000, dtype=torch.uint8), path)
    seen = []
    verify(path, seen.append)
    assert sum(seen) == sum(record.size for record in open_contents(path).records.values())


def test_files_without_checksums_are_not_called_sound(tmp_path):
    torch.save(STATE, tmp_path / "model.pt")
    convert(tmp_path / "model.pt", tmp_path / "model.safetensors")
    torch.serialization.set_crc32_options(False)
    try:
        torch.save(STATE, tmp_path / "bare.pt")
    finally:
        torch.serialization.set_crc32_options(True)
    for name in ("model.safetensors", "bare.pt"):
        found = verify(tmp_path / name)
        assert found.verdict is Verdict.UNVERIFIABLE, name
        assert not found.damage
        assert "no checksums" in found.findings[0].problem


def changed(path, change):
    """Pack torch's records anew, each as ``change`` returns it; without those it has none for."""
    by_torch(path)
    with zipfile.ZipFile(path) as old:
        records = {name: change(name, old.read(name)) for name in old.namelist()}
    with zipfile.ZipFile(path, "w") as new:
        for name, content in records.items():
            if content is not None:
                new.writestr(name, content)


def test_a_file_whose_data_were_never_written_is_not_said_to_have_changed(tmp_path):
    with torch.serialization.skip_data():
        torch.save(STATE, tmp_path / "model.pt")
    found = verify(tmp_path / "model.pt")
    assert found.verdict is Verdict.UNVERIFIABLE
    unknown, unwritten = found.findings
    assert "no checksum" in unknown.problem
    assert (unwritten.severity, "skip_data" in unwritten.problem) == (Severity.WARNING, True)
    with pytest.warns(UserWarning, match="ever written"):
        load_checkpoint(tmp_path / "model.pt")
    with pytest.raises(UnsupportedCheckpointError, match="skip_data"):
        convert(tmp_path / "model.pt", tmp_path / "out.safetensors")


def test_what_was_written_later_into_a_file_without_data_cannot_be_verified(tmp_path):
    path = tmp_path / "model.pt"
    model = torch.nn.Linear(2, 1, bias=False)
    with torch.serialization.skip_data():
        torch.save(model.state_dict(), path)
    record = read_archive(path).records["data/0"]
    with open(path, "r+b") as file:
        file.seek(record.offset)
        file.write(b"\1" * record.size)
    found = verify(path)
    assert found.verdict is Verdict.UNVERIFIABLE
    assert [finding.severity for finding in found.findings] == [Severity.NOTE]
    assert found.checked < len(read_archive(path).records)
    with pytest.warns(UserWarning, match="ever written"):
        state = load_checkpoint(path)
    assert not differences(state, torch.load(path))
    with pytest.warns(UserWarning, match="some of its records have no checksum"):
        restore_checkpoint(path, model)
    assert not differences(model.state_dict(), state)


ABSENT = {
    "no storage": lambda name, data: None if name.endswith("data/0") else data,
    "a shorter storage": lambda name, data: data[:-4] if name.endswith("data/0") else data,
}


@pytest.mark.parametrize("how", ABSENT)
def test_what_is_missing_is_damage_though_all_that_is_there_is_right(tmp_path, capsys, how):
    path = tmp_path / "model.pt"
    changed(path, ABSENT[how])
    if how == "no storage" or version() >= (2, 13):  # 2.6 loads the tensor; between: not tried
        with pytest.raises(RuntimeError):
            torch.load(path, weights_only=True)
    assert [finding.record for finding in verify(path).damage] == ["data/0"]
    for command in ("verify", "doctor"):
        assert main([command, str(path)]) == 1
    for command in ("convert", "slim", "strip-prefix"):
        assert main([command, str(path), str(tmp_path / "out.pt")]) == 1
    assert main(["diff", str(path), str(path)]) == 1
    assert refused_by_loading(path)
    assert "internal error" not in "".join(capsys.readouterr())


def test_what_is_odd_is_a_warning(tmp_path):
    path = tmp_path / "model.pt"
    changed(path, lambda name, data: data + b"1234" if name.endswith("data/0") else data)
    (finding,) = verify(path).findings
    assert (finding.severity, finding.record) == (Severity.WARNING, "data/0")
    for other in (b"99\n", None):
        changed(path, lambda name, data, new=other: new if name.endswith("/version") else data)
        (finding,) = verify(path).findings
        assert (finding.severity, finding.record) == (Severity.WARNING, "version")
        with pytest.raises(RuntimeError):
            torch.load(path, weights_only=True)


def test_a_compressed_record_is_verified_too(tmp_path):
    path = tmp_path / "model.pt"
    torch.save(STATE, path)
    with zipfile.ZipFile(path) as old:
        records = [(name, old.read(name)) for name in old.namelist()]
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as new:
        for name, content in records:
            new.writestr(name, content * 1)
    path.write_bytes(buffer.getvalue())
    assert verify(path).verdict is Verdict.SOUND
    data = bytearray(buffer.getvalue())
    record = open_contents(path).records["data/0"]
    data[record.offset + record.stored - 2] ^= 1
    path.write_bytes(data)
    assert [finding.record for finding in verify(path).damage] == ["data/0"]


def test_a_name_says_nothing(tmp_path):
    torch.save(STATE, tmp_path / "model.safetensors")
    torch.save(STATE, tmp_path / "model.pt")
    convert(tmp_path / "model.pt", tmp_path / "weights")
    (tmp_path / "weights").rename(tmp_path / "other.pt")
    assert verify(tmp_path / "model.safetensors").verdict is Verdict.SOUND
    assert verify(tmp_path / "other.pt").verdict is Verdict.UNVERIFIABLE

"""The census tells what is read rightly from what is not."""

import io
import zipfile

import pytest
import torch

from course_utils.authoring import census
from course_utils.authoring.census import REFUSED, RIGHT, WRONG
from course_utils.errors import DamagedCheckpointError, UnsupportedCheckpointError


@pytest.fixture
def path(tmp_path):
    torch.save({"a": torch.arange(3), "b": {"c": torch.ones(2)}}, tmp_path / "a.pt")
    return tmp_path / "a.pt"


def outcome(path, *, sound=True):
    return census._compared("torch", path, sound=sound).outcome


def test_a_file_that_is_read_as_torch_reads_it(path):
    assert outcome(path) == RIGHT


def test_another_number_is_wrong(path, monkeypatch):
    monkeypatch.setattr(census, "read_tensor", lambda *_, **__: torch.arange(1, 4))
    assert outcome(path) == WRONG


def raising(error):
    def open_contents(path):
        raise error

    return open_contents


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (UnsupportedCheckpointError("x"), REFUSED),
        (DamagedCheckpointError("x"), WRONG),
        (KeyError("x"), WRONG),
    ],
)
def test_what_is_not_read_though_torch_reads_it(path, monkeypatch, error, expected):
    monkeypatch.setattr(census, "open_contents", raising(error))
    assert outcome(path) == expected


def test_a_tensor_that_is_passed_over_is_wrong(path, monkeypatch):
    real = census.open_contents

    def lose_one(path):
        contents = real(path)
        del contents.tensors["b.c"]
        return contents

    monkeypatch.setattr(census, "open_contents", lose_one)
    assert outcome(path) == WRONG


def test_a_zip_that_zipfile_reads_must_not_be_called_damaged(tmp_path, monkeypatch):
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as file:
        file.writestr("a.txt", "b")
    (tmp_path / "a.zip").write_bytes(data.getvalue())
    monkeypatch.setattr(census, "open_contents", raising(DamagedCheckpointError("x")))
    assert outcome(tmp_path / "a.zip") == WRONG
    (tmp_path / "a.zip").write_bytes(data.getvalue()[:-30])
    assert outcome(tmp_path / "a.zip", sound=False) == RIGHT


def test_a_sound_file_that_audit_calls_damaged_is_wrong(tmp_path):
    path = tmp_path / "a.pkl"
    path.write_bytes(b"\x80\x02N")  # it is not, and is said to be
    assert outcome(path) == WRONG
    assert outcome(path, sound=False) == RIGHT

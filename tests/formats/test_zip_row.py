"""A file of archives is told from a damaged one, and each archive is looked at."""

import io

import hostile
import pytest
import torch

from course_utils.errors import (
    DamagedCheckpointError,
    NotACheckpointError,
    UnsupportedCheckpointError,
)
from course_utils.files.contents import open_contents
from course_utils.formats.judge import Verdict
from course_utils.formats.open import require_tensors
from course_utils.formats.source import Memory, Window
from course_utils.formats.zip_row import split
from course_utils.safety import audit


def archive(value):
    torch.save(value, file := io.BytesIO())
    return file.getvalue()


ROW = [archive(torch.arange(n)) for n in (3, 1, 200)]


def test_archives_in_a_row_are_told_apart():
    parts = split(Window(Memory(b"".join(ROW))))
    assert [part.everything() for part in parts] == ROW


@pytest.mark.parametrize(
    "data", [b"", ROW[0], b"x" + ROW[0], ROW[0] + b"x" * 50 + ROW[1], ROW[0][:-9]]
)
def test_anything_else_is_no_row(data):
    assert split(Window(Memory(data))) == []


def test_it_is_a_part_of_a_checkpoint_and_not_damaged(tmp_path):
    path = tmp_path / "__0_0.distcp"
    path.write_bytes(b"".join(ROW))
    with pytest.raises(UnsupportedCheckpointError, match=r"several archives.*Name the folder"):
        open_contents(path)
    assert audit(path).verdict is Verdict.NOT_A_CHECKPOINT
    for data in (b"".join(ROW)[:-100], ROW[0] + ROW[1][:-1] + ROW[2]):
        path.write_bytes(data)
        with pytest.raises(DamagedCheckpointError, match="cut off or overwritten"):
            open_contents(path)


def test_code_in_any_of_them_is_found(tmp_path):
    payload = hostile.payloads(tmp_path / "marker")["reduce"]
    evil = hostile.zip_checkpoint(b"\x80\x02" + payload + b".")
    for row in ([evil, ROW[0]], [ROW[0], evil], [ROW[0], evil, ROW[1]]):
        (tmp_path / "a").write_bytes(b"".join(row))
        assert audit(tmp_path / "a").verdict is Verdict.WOULD_RUN_CODE


def test_two_saves_into_one_open_file_are_named(tmp_path):
    path = tmp_path / "two.pt"
    with open(path, "wb") as file:
        for name in "ab":
            torch.save({name: torch.ones(2)}, file)
    # torch reads the first one, by the directory of the second, without a word.
    assert list(torch.load(path)) == ["a"]
    with pytest.raises(UnsupportedCheckpointError, match="called more than once on one open file"):
        open_contents(path)
    assert "called more than once" in audit(path).findings[0].reason


def test_what_a_failed_save_left_is_not_said_to_be_anothers(tmp_path):
    path = tmp_path / "failed.pt"
    with pytest.raises(Exception, match="lambda"):
        torch.save({"w": torch.ones(1), "f": lambda: 0}, path)
    with pytest.raises(NotACheckpointError, match=r"a torch\.save that failed has left") as raised:
        require_tensors(open_contents(path))
    for said in (str(raised.value), audit(path).findings[0].reason):
        assert "did not write" not in said

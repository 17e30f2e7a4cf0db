"""Every pickle protocol that torch.save can be told: read, or said to be one that nobody reads."""

import hostile
import pytest
import torch

from course_utils.anatomy import read_archive, read_tensors
from course_utils.checkpoint import load_checkpoint, restore_checkpoint
from course_utils.checkpoint.torch_versions import version
from course_utils.ckpt.doctor import examine
from course_utils.errors import UnsafeCheckpointError, UnsupportedCheckpointError
from course_utils.files.contents import verify
from course_utils.resume import differences
from course_utils.safety import audit, convert

STATE = {"w": torch.arange(6.0).reshape(2, 3), "b": torch.ones(3)}
# Before 2.10 torch's safe loader is broken, and gets only what the audit calls plain data.
REFUSED_BY = {load_checkpoint: UnsafeCheckpointError} if version() < (2, 10) else {}
NEW = pytest.mark.parametrize("new", [True, False], ids=["zip", "before 1.6"])


def saved(path, protocol, new):
    torch.save(STATE, path, pickle_protocol=protocol, _use_new_zipfile_serialization=new)
    return path


@NEW
@pytest.mark.parametrize("protocol", [1, 2, 3, 4, 5])
def test_what_torch_reads_is_read(tmp_path, protocol, new):
    path = saved(tmp_path / "a.pt", protocol, new)
    assert not differences(torch.load(path, weights_only=False), STATE)
    assert not differences(read_tensors(read_archive(path), STATE), STATE)
    assert audit(path).verdict.value == "plain data"
    assert not verify(path).damage
    convert(path, tmp_path / "b.pt")
    assert not differences(load_checkpoint(tmp_path / "b.pt"), STATE)


@NEW
def test_protocol_0_which_torch_does_not_read_is_not_called_damaged(tmp_path, new):
    path = saved(tmp_path / "a.pt", 0, new)
    for weights_only in (True, False):
        # 2.6 gives no reason: a bare `assert isinstance(saved_id, tuple)`.
        with pytest.raises(Exception, match=r"Unsupported operand|saved_id must be a tuple|^$"):
            torch.load(path, weights_only=weights_only)
    model = torch.nn.ParameterDict(STATE)
    for read in (
        read_archive, load_checkpoint, verify, examine,
        lambda path: convert(path, tmp_path / "b.pt"),
        lambda path: restore_checkpoint(path, model),
    ):  # fmt: skip
        kind = REFUSED_BY.get(new and read, UnsupportedCheckpointError)  # an old file: unread
        with pytest.raises(kind, match="protocol 0"):
            read(path)
    found = audit(path)
    assert found.verdict.value == "malformed"
    assert "protocol 0" in found.findings[0].reason


def test_a_pickle_that_makes_no_sense_under_a_right_checksum_is_not_called_damaged(tmp_path):

    path = tmp_path / "a.pt"
    path.write_bytes(hostile.zip_checkpoint(b"\x80\x02" + hostile.tensor(shape=(5,)) + b"."))
    for read in (read_archive, load_checkpoint, verify):
        kind = REFUSED_BY.get(read, UnsupportedCheckpointError)
        with pytest.raises(kind, match="reaches beyond its storage"):
            read(path)

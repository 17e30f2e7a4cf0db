"""Where there are no threads, in a browser for example, verifying finds the same."""

import pytest
import torch

from course_utils.files import contents


@pytest.fixture
def checked(tmp_path, monkeypatch):
    path = tmp_path / "a.pt"
    torch.save({"w": torch.rand(300_000), "v": torch.rand(3), "e": torch.ones(0)}, path)

    def checked(alone, damage=None):
        monkeypatch.setattr(contents, "ALONE", alone)
        monkeypatch.setattr(contents, "SMALLEST", 300_001)
        if damage is not None:
            data = bytearray(path.read_bytes())
            data[contents.open_contents(path).records["data/0"].offset + damage] ^= 4
            path.write_bytes(data)
        done = []
        return contents.verify(path, done.append), sum(done)

    return checked


def test_sound(checked):
    assert checked(True) == checked(False)
    assert checked(True)[0].verdict.value == "sound"


def test_a_flipped_bit_in_a_later_chunk(checked):
    alone = checked(True, damage=900_000)
    assert alone == checked(False)
    assert [finding.record for finding in alone[0].damage] == ["data/0"]


def test_alone_no_thread_is_started(checked, monkeypatch):
    def refuse(*_, **__):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr("threading.Thread.start", refuse)
    with pytest.raises(RuntimeError):
        checked(False)
    assert checked(True)[0].verdict.value == "sound"

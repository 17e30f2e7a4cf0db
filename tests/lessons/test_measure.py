"""The measurements measure: known amounts of memory and of bytes are seen."""

from pathlib import Path

import pytest
import torch

from course_utils.lessons.measure import peak_memory, reading

MIB = 2**20


def touch_and_free(megabytes):
    block = b"\1" * (int(megabytes) * MIB)
    yield "filled"
    del block
    yield "freed"


def keep_nothing():
    yield "nothing"


def spiky():
    block = b"\1" * (200 * MIB)
    del block
    return touch_and_free(100)


def fails():
    raise ValueError("on purpose")
    yield


def test_a_peak_is_seen_even_after_it_is_over(monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent))
    peaks = peak_memory("test_measure:touch_and_free", "200")
    assert list(peaks) == ["filled", "freed"]
    assert 200 * MIB <= peaks["filled"] < 220 * MIB
    assert peaks["freed"] > 199 * MIB  # the kernel adds up its counters with a delay


def test_a_fat_parent_is_not_counted(monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent))
    fat = torch.ones(100 * MIB)
    assert peak_memory("test_measure:keep_nothing")["nothing"] < 20 * MIB
    assert fat.numel()


def test_a_higher_peak_from_before_hides_nothing(monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent))
    assert 95 * MIB < peak_memory("test_measure:spiky")["filled"] < 120 * MIB


def test_a_failure_is_told(monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent))
    with pytest.raises(RuntimeError, match="on purpose"):
        peak_memory("test_measure:fails")


@pytest.mark.skipif(not Path("/proc/self/io").exists(), reason="counts bytes with Linux's /proc")
def test_read_bytes_are_counted(tmp_path):
    (tmp_path / "file").write_bytes(bytes(5 * MIB))
    with reading() as meter:
        (tmp_path / "file").read_bytes()
    assert 5 * MIB <= meter.bytes < 5.1 * MIB

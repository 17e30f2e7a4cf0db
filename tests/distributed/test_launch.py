"""The launcher: clean in many launches, and nothing left running when it is not."""

import os
import time
from pathlib import Path

import pytest

from course_utils.distributed.launch import launch

PROGRAM = """
import os, sys, time
import torch, torch.distributed as dist
from course_utils.distributed.launch import process_group

with process_group() as device:
    rank = dist.get_rank()
    total = torch.tensor([rank + 1.0], device=device)
    dist.all_reduce(total)
    print("the sum is", total.item())
    print("the process is", os.getpid(), file=sys.stderr)
    if "--fail" in sys.argv and rank == 1:
        raise ValueError("rank 1 has had enough")
    if "--hang" in sys.argv:
        time.sleep(600)
    print("last words of", rank)
"""


@pytest.fixture(autouse=True)
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "program_of_ranks.py").write_text(PROGRAM)
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}{os.pathsep}{os.environ.get('PYTHONPATH', '')}")


def assert_clean(ranks: int) -> None:
    done = launch("program_of_ranks", ranks=ranks)
    assert done.status == 0, "\n".join([str(done), *done.log])
    assert done.log == []
    assert list(done.output) == list(range(ranks))
    for rank, lines in done.output.items():
        assert lines[:2] == [f"the sum is {ranks * (ranks + 1) / 2}", f"last words of {rank}"]
        assert lines[2].startswith("the process is")
        assert len(lines) == 3
    shown = [f"[rank {rank}] {line}" for rank in range(ranks) for line in done.output[rank]]
    assert str(done).splitlines() == shown


@pytest.mark.parametrize("ranks", [1, 3])
def test_every_rank_ends_cleanly_and_all_its_lines_arrive(ranks: int) -> None:
    assert_clean(ranks)


@pytest.mark.torture
def test_fifty_launches_end_cleanly() -> None:
    for _ in range(50):
        assert_clean(2)


def test_a_rank_that_fails_fails_the_launch_and_says_why() -> None:
    done = launch("program_of_ranks", "--fail", ranks=2)
    assert done.status != 0
    assert "ValueError: rank 1 has had enough" in done.output[1]


def test_a_launch_that_takes_too_long_is_ended_with_its_processes(
    capfd: pytest.CaptureFixture[str],
) -> None:
    started: list[int] = []
    for seconds in (30, 240):  # a busy machine may take half a minute to start two ranks
        if len(started) < 2:
            with pytest.raises(TimeoutError, match=f"{seconds} seconds"):
                launch("program_of_ranks", "--hang", ranks=2, timeout=seconds, echo=True)
            lines = capfd.readouterr().out.splitlines()
            started = [int(line.split()[-1]) for line in lines if "the process is" in line]
    assert len(started) == 2, lines
    assert not any(map(is_running, started))


def is_running(process: int) -> bool:
    for _ in range(20):
        try:
            state = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
        except FileNotFoundError:
            return False
        if state == "Z":
            return False
        time.sleep(0.1)
    return True

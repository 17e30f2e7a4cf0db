"""One line of JSON per training step, so that two runs can be compared step by step."""

import json
from pathlib import Path
from typing import Any

from torch import Tensor

NAME = "steps.jsonl"


class StepLog:
    """Appends to the log of a run; a resumed run first drops the steps it will do again.

    Args:
        folder: of the run; the log is ``steps.jsonl`` in it.
        resume_at: keep an earlier process's steps up to this one.
    """

    def __init__(self, folder: Path, *, resume_at: int = 0) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._file = open(folder / NAME, "a", encoding="utf-8", buffering=1)  # noqa: SIM115
        self._file.truncate(_length(folder / NAME, resume_at))

    def write(self, step: int, loss: Tensor, images: Tensor) -> None:
        """Note a step: its number from 1, its loss, and the indices of its images."""
        entry = {"step": step, "loss": loss.item(), "images": images.tolist()}
        self._file.write(json.dumps(entry) + "\n")


def read_log(folder: Path) -> list[dict[str, Any]]:
    """Return a run's steps, each with ``step``, ``loss`` (exact) and ``images`` (indices).

    A last line that a kill left unfinished is no step.
    """
    return [json.loads(line) for line in _whole_lines(folder / NAME)]


def _length(path: Path, last_step: int) -> int:
    """Return how many bytes at the start of a log hold the steps up to one."""
    lines = _whole_lines(path)
    return sum(len(line) for line in lines if json.loads(line)["step"] <= last_step)


def _whole_lines(path: Path) -> list[bytes]:
    return [line for line in path.read_bytes().splitlines(keepends=True) if line.endswith(b"\n")]

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
        resume_at: keep this many steps of an earlier process.
    """

    def __init__(self, folder: Path, *, resume_at: int = 0) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        kept = read_log(folder)[:resume_at] if resume_at else []
        lines = (json.dumps(entry) + "\n" for entry in kept)
        self._file = open(folder / NAME, "w", encoding="utf-8", buffering=1)  # noqa: SIM115
        self._file.writelines(lines)

    def write(self, step: int, loss: Tensor, images: Tensor) -> None:
        """Note a step: its number from 1, its loss, and the indices of its images."""
        entry = {"step": step, "loss": loss.item(), "images": images.tolist()}
        self._file.write(json.dumps(entry) + "\n")


def read_log(folder: Path) -> list[dict[str, Any]]:
    """Return a run's steps, each with ``step``, ``loss`` (exact) and ``images`` (indices)."""
    return [json.loads(line) for line in (folder / NAME).read_text(encoding="utf-8").splitlines()]

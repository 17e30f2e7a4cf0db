"""The files of a run: names that tell step and metric, and what a folder holds of them."""

import math
import operator
import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple, SupportsIndex

from course_utils.errors import MissingCheckpointError
from course_utils.files.durable import sync_folder

ABANDONED = "abandoned"
_FILE_NAME = re.compile(r"step-(\d+)(?:-([A-Za-z]\w*)-(.+))?\.pt")


class StepFile(NamedTuple):
    """A checkpoint as its name describes it.

    Attributes:
        step: optimizer steps done.
        metric: name of the metric, None without one.
        value: the metric's, not a number without one.
        path: the file.
    """

    step: int
    metric: str | None
    value: float
    path: Path


def file_name(step: SupportsIndex, metric: str | None = None, value: float = math.nan) -> str:
    """Return the name of a checkpoint; the value is written so that reading gives it back.

    Raises:
        ValueError: the step is no whole number, or below 0.
    """
    try:
        number = operator.index(step)
    except TypeError:
        raise ValueError(f"step must be a whole number, not {step!r}") from None
    if number < 0:
        raise ValueError(f"step must be at least 0, not {number}")
    if metric is None:
        return f"step-{number:08}.pt"
    short = f"{value:.6g}"
    return f"step-{number:08}-{metric}-{short if float(short) == value else repr(value)}.pt"


def step_files(folder: Path) -> list[StepFile]:
    """Return the checkpoints in a folder, oldest step first; of one step, the last written last.

    Raises:
        MissingCheckpointError: there is no such folder.
    """
    try:
        names = os.listdir(folder)
    except (FileNotFoundError, NotADirectoryError):
        raise MissingCheckpointError(f"{folder}: the folder is gone.") from None
    matches = (_FILE_NAME.fullmatch(name) for name in names)
    files = [_described(folder, match) for match in matches if match]
    return sorted(files, key=lambda file: (file.step, _written(file.path), file.path))


def newest_of_each_step(files: Iterable[StepFile]) -> list[StepFile]:
    """Return the last file of each step: a step saved again counts once."""
    return list({file.step: file for file in files}.values())


def set_aside(paths: Iterable[Path]) -> None:
    """Move files or folders, durably, to ``abandoned/`` beside them; nothing is overwritten."""
    for path in paths:
        target = path.parent / ABANDONED / path.name
        target.parent.mkdir(exist_ok=True)
        number = 1
        while target.exists():
            number += 1
            target = target.with_name(f"{path.stem}.{number}{path.suffix}")
        path.rename(target)
        sync_folder(target.parent)
        sync_folder(path.parent)


def _described(folder: Path, match: re.Match[str]) -> StepFile:
    step, metric, value = match.groups()
    return StepFile(int(step), metric, _number(value), folder / match.group())


def _number(text: str | None) -> float:
    try:
        return float(text or "nan")
    except ValueError:
        return math.nan


def _written(path: Path) -> int:
    """When it was written, in nanoseconds; it may have been removed meanwhile."""
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return 0

"""A folder of checkpoints: the newest and the best are kept, the rest make room."""

import math
import os
import re
import warnings
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, Literal, NamedTuple

from course_utils.checkpoint.load import load_checkpoint
from course_utils.checkpoint.save import save_checkpoint
from course_utils.errors import (
    CheckpointError,
    DamagedCheckpointError,
    MissingCheckpointError,
    NotACheckpointError,
)
from course_utils.files.locks import Hold, lock_alone

FILE_NAME = re.compile(r"step-(\d+)(?:-([A-Za-z]\w*)-(.+))?\.pt")


class CheckpointManager:
    """Save checkpoints of a run under names that tell their step, and keep the right ones.

    The folder's listing is the only index, so nothing can disagree with it. A file is removed
    only after a newer one is durable. Files that another manager has saved, or that somebody
    is reading, are left alone.

    Args:
        folder: where the files go; created if missing. Relative paths are taken now.
        keep_last: how many of the newest to keep, at least 1.
        keep_best: how many of the best to keep besides, 0 or more.
        metric: the entry of ``metrics`` that says how good a checkpoint is: a Python name.
        mode: whether the best has the largest (``"max"``) or the smallest (``"min"``) metric.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        *,
        keep_last: int = 3,
        keep_best: int = 1,
        metric: str = "accuracy",
        mode: Literal["max", "min"] = "max",
    ) -> None:
        if keep_last < 1 or keep_best < 0:
            raise ValueError("keep_last must be at least 1 and keep_best at least 0")
        if mode not in ("max", "min"):
            raise ValueError(f"mode must be 'max' or 'min', not {mode!r}")
        if not re.fullmatch(r"[A-Za-z]\w*", metric, re.ASCII):
            raise ValueError(f"metric must be a plain name such as 'accuracy', not {metric!r}")
        self.folder = Path(folder).absolute()
        self.folder.mkdir(parents=True, exist_ok=True)
        self.keep_last, self.keep_best = keep_last, keep_best
        self.metric, self.sign = metric, 1 if mode == "max" else -1
        self._held: dict[Path, Hold] = {}  # tells other managers that these files are ours

    def save(self, state: Any, step: int, metrics: Mapping[str, float] | None = None) -> Path:
        """Save durably as ``step-<step>-<metric>-<value>.pt``, then remove what is not kept.

        Args:
            state: what to save, usually a dict of state_dicts.
            step: the number of optimizer steps done, at least 0.
            metrics: values of this step; only the manager's metric goes into the name.

        Returns:
            The new file's path.

        Raises:
            CheckpointWriteError: nothing was saved, and nothing was removed.
        """
        write = partial(save_checkpoint, state=state)
        return self.save_with(write, self.path_for(step, metrics))

    def save_with(self, write: Callable[[Path], object], path: Path) -> Path:
        """Do what ``save`` does with a function that writes a checkpoint durably.

        Args:
            write: is given the path.
            path: from ``path_for``.
        """
        with Hold(self.folder) as saving:  # until it is held, the new file could be pruned
            write(path)
            self._held[path] = Hold(path)
            if saving.alone():  # else another manager is saving: prune next time
                self._prune(path)
        return path

    def latest(self) -> Path | None:
        """Return the file with the highest step, or None; whether it is sound, loading tells."""
        found = self._found()
        return found[-1].path if found else None

    def best(self) -> Path | None:
        """Return the file with the best metric, the newest of equals, or None."""
        best = self._best(self._found(), 1)
        return best[0].path if best else None

    def restore(self, map_location: Any = "cpu") -> Any:
        """Load the newest sound checkpoint, with a warning for each damaged one it skips.

        Args:
            map_location: as for ``torch.load``.

        Raises:
            MissingCheckpointError: the folder holds no checkpoint.
            DamagedCheckpointError: all that it holds are damaged.
            UnsafeCheckpointError: the newest sound one is not safe to load.
        """
        errors: list[CheckpointError] = []
        for entry in reversed(self._found()):
            try:
                return load_checkpoint(entry.path, map_location)
            except (DamagedCheckpointError, NotACheckpointError, MissingCheckpointError) as error:
                errors.append(error)
                warnings.warn(f"Skipped a damaged checkpoint: {error}", stacklevel=2)
        if errors:
            raise DamagedCheckpointError(
                f"{self.folder}: none of its {len(errors)} checkpoints is sound"
            ) from errors[0]
        raise MissingCheckpointError(f"{self.folder}: holds no checkpoint yet")

    def path_for(self, step: int, metrics: Mapping[str, float] | None = None) -> Path:
        """Return the path under which ``save`` keeps this step."""
        if step < 0:
            raise ValueError(f"step must be at least 0, not {step}")
        name = f"step-{step:08}"
        if metrics is not None:
            if self.metric not in metrics:
                raise ValueError(f"metrics has no {self.metric!r}, only {list(metrics)}")
            name += f"-{self.metric}-{float(metrics[self.metric]):.6g}"
        return self.folder / f"{name}.pt"

    def _prune(self, newest: Path) -> None:
        """Remove this manager's files that are neither among the last, the best, nor new."""
        ours = [entry for entry in self._found() if self._is_ours(entry.path)]
        kept = {entry.path for entry in ours[-self.keep_last :]} | {newest}
        kept |= {entry.path for entry in self._best(ours, self.keep_best)}
        for entry in ours:
            if entry.path not in kept:
                self._remove(entry.path)

    def _is_ours(self, path: Path) -> bool:
        """Whether this manager saved the file, or nobody alive did."""
        return path in self._held or _nobody_holds(path)

    def _remove(self, path: Path) -> None:
        hold = self._held.pop(path, None)
        if hold is not None:
            hold.close()
        if not _nobody_holds(path):
            return  # somebody is reading it: it goes at a later save
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            warnings.warn(f"Could not remove an old checkpoint: {error}", stacklevel=4)

    def _found(self) -> list["_Entry"]:
        """Return the checkpoints in the folder, oldest step first."""
        matches = (FILE_NAME.fullmatch(name) for name in os.listdir(self.folder))
        entries = [self._entry(match) for match in matches if match]
        return sorted(entries, key=lambda entry: (entry.step, entry.path))

    def _entry(self, match: re.Match[str]) -> "_Entry":
        step, metric, value = match.groups()
        goodness = self.sign * _number(value) if metric == self.metric else math.nan
        return _Entry(int(step), goodness, self.folder / match.group())

    def _best(self, entries: list["_Entry"], count: int) -> list["_Entry"]:
        rated = [entry for entry in entries if not math.isnan(entry.goodness)]
        return sorted(rated, key=lambda entry: (entry.goodness, entry.step))[::-1][:count]


class _Entry(NamedTuple):
    step: int
    goodness: float  # larger is better; not a number where the metric is missing
    path: Path


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan


def _nobody_holds(path: Path) -> bool:
    try:
        with open(path, "rb") as file:
            return lock_alone(file.fileno())
    except FileNotFoundError:
        return False

"""A folder of checkpoints: the newest and the best are kept, the rest make room."""

import math
import os
import re
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Literal, SupportsIndex

from course_utils.checkpoint.load import load_checkpoint
from course_utils.checkpoint.ownership import Ownership
from course_utils.checkpoint.save import save_checkpoint
from course_utils.checkpoint.step_files import (
    ABANDONED,
    StepFile,
    file_name,
    newest_of_each_step,
    set_aside,
    step_files,
)
from course_utils.errors import (
    CheckpointError,
    CheckpointWriteError,
    DamagedCheckpointError,
    MissingCheckpointError,
    NotACheckpointError,
)
from course_utils.files.locks import Hold, nobody_holds
from course_utils.files.notices import say_once

NO_LOCKS = (
    "this file system has no locks, so nobody can tell whether another process uses a file. Only "
    "the checkpoints that this manager has saved itself make room; those of earlier runs stay "
    "until you remove them, and what a killed save left behind stays for a day."
)


class CheckpointManager:
    """Save checkpoints of a run under names that tell their step, and keep the right ones.

    The folder's listing is the only index, so nothing can disagree with it. A file is removed
    only after a newer one is durable. Files of another manager that is alive, and files that
    somebody is reading, are left alone.

    A folder belongs to one run: the first save must be above every step that is there, or later
    saves would be taken for the older ones. To go back, say from where with ``continue_from``.
    A step that is saved again replaces its file.

    Args:
        folder: where the files go; created if missing. Relative paths are taken now.
        keep_last: how many of the newest to keep, at least 1.
        keep_best: how many of the best to keep besides, 0 or more.
        metric: the entry of ``metrics`` that says how good a checkpoint is: a Python name.
        mode: whether the best has the largest (``"max"``) or the smallest (``"min"``) metric.
        continue_from: a step that is in the folder: the run goes on from there. Checkpoints of
            later steps are moved to ``abandoned/`` in the folder, now.

    Raises:
        MissingCheckpointError: there is no checkpoint of the step ``continue_from``.
        CheckpointWriteError: a later checkpoint is in use by a living process.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        *,
        keep_last: int = 3,
        keep_best: int = 1,
        metric: str = "accuracy",
        mode: Literal["max", "min"] = "max",
        continue_from: int | None = None,
    ) -> None:
        if keep_last < 1 or keep_best < 0:
            raise ValueError("keep_last must be at least 1 and keep_best at least 0")
        if mode not in ("max", "min"):
            raise ValueError(f"mode must be 'max' or 'min', not {mode!r}")
        if not re.fullmatch(r"[A-Za-z]\w*", metric, re.ASCII):
            raise ValueError(f"metric must be a plain name such as 'accuracy', not {metric!r}")
        self.folder = Path(folder).absolute()
        with _as_write_errors(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
        self.keep_last, self.keep_best = keep_last, keep_best
        self.metric, self.sign = metric, 1 if mode == "max" else -1
        self._own = Ownership()
        self._continues = continue_from  # the step from which this run goes on
        self._damaged: set[Path] = set()  # what `restore` could not load
        if continue_from is not None:
            self._abandon_after(continue_from)

    def save(
        self, state: Any, step: SupportsIndex, metrics: Mapping[str, float] | None = None
    ) -> Path:
        """Save durably as ``step-<step>-<metric>-<value>.pt``, then remove what is not kept.

        Args:
            state: what to save, usually a dict of state_dicts.
            step: the number of optimizer steps done, at least 0.
            metrics: values of this step; only the manager's metric goes into the name.

        Returns:
            The new file's path.

        Raises:
            CheckpointWriteError: nothing was saved, and nothing was removed: the disk failed, or
                the folder holds another run's checkpoints.
            ValueError: the step or the metrics make no sense.
        """
        return self.save_with(partial(save_checkpoint, state=state), self.prepare(step, metrics))

    def prepare(self, step: SupportsIndex, metrics: Mapping[str, float] | None = None) -> Path:
        """Return the path for this step, after making sure that the folder is this run's.

        Raises:
            CheckpointWriteError: the folder holds another run's checkpoints, or is gone.
            ValueError: the step or the metrics make no sense.
        """
        path = self.path_for(step, metrics)
        with _as_write_errors(self.folder):
            found = step_files(self.folder)
        if self._own.inherited:
            self._own = Ownership()
        if not self._own.has_saved:
            self._refuse_another_runs(found, step.__index__())
        return path

    def save_with(self, write: Callable[[Path], object], path: Path) -> Path:
        """Do what ``save`` does with a function that writes a checkpoint durably.

        Args:
            write: is given the path.
            path: from ``prepare``.
        """
        with _as_write_errors(self.folder):
            saving = Hold(self.folder)
        with saving:  # until it is held, the new file could be pruned by another manager
            if not saving.works:
                say_once(self.folder, NO_LOCKS, stacklevel=3)
            write(path)
            self._own.saved(path)
            self._prune(saving)
        return path

    def latest(self) -> Path | None:
        """Return the file with the highest step, or None; whether it is sound, loading tells."""
        found = step_files(self.folder)
        return found[-1].path if found else None

    def best(self) -> Path | None:
        """Return the file with the best metric, the newest of equals, or None."""
        best = self._best(newest_of_each_step(step_files(self.folder)), 1)
        return best[0].path if best else None

    def restore(self, map_location: Any = "cpu") -> Any:
        """Load the newest sound checkpoint, with a warning for each damaged one it skips.

        Args:
            map_location: as for ``torch.load``.

        Raises:
            MissingCheckpointError: the folder holds no checkpoint, or is gone.
            DamagedCheckpointError: all that it holds are damaged.
            UnsafeCheckpointError: the newest sound one is not safe to load.
            UnreadableCheckpointError: the system does not let it be read.
        """
        errors: list[CheckpointError] = []
        for file in reversed(step_files(self.folder)):
            try:
                state = load_checkpoint(file.path, map_location)
            except (DamagedCheckpointError, NotACheckpointError, MissingCheckpointError) as error:
                errors.append(error)
                self._damaged.add(file.path)
                warnings.warn(f"Skipped a damaged checkpoint: {error}", stacklevel=2)
            else:
                self._continues = file.step
                return state
        if errors:
            raise DamagedCheckpointError(
                f"{self.folder}: none of its {len(errors)} checkpoints is sound"
            ) from errors[0]
        raise MissingCheckpointError(f"{self.folder}: holds no checkpoint yet")

    def path_for(self, step: SupportsIndex, metrics: Mapping[str, float] | None = None) -> Path:
        """Return the path under which ``save`` keeps this step."""
        if metrics is None:
            return self.folder / file_name(step)
        if self.metric not in metrics:
            raise ValueError(f"metrics has no {self.metric!r}, only {list(metrics)}")
        return self.folder / file_name(step, self.metric, float(metrics[self.metric]))

    def __getstate__(self) -> dict[str, Any]:
        """A copy is another manager of the same folder: it has saved nothing and locks nothing."""
        return {**vars(self), "_own": Ownership(), "_damaged": set(self._damaged)}

    def _refuse_another_runs(self, found: list[StepFile], step: int) -> None:
        highest = max((f.step for f in found if f.path not in self._damaged), default=-1)
        if step > highest or (step == highest == self._continues):
            return
        raise CheckpointWriteError(
            f"{self.folder}: step {step} was not saved, because the folder holds step {highest} of "
            f"an earlier run: restoring would take that one. Save to another folder, or go on from "
            f"a step that is there with CheckpointManager(..., continue_from=STEP), which moves "
            f"later ones to {ABANDONED}/."
        )

    def _abandon_after(self, step: int) -> None:
        found = step_files(self.folder)
        steps = sorted({file.step for file in found})
        if step not in steps:
            raise MissingCheckpointError(
                f"{self.folder}: no checkpoint of step {step} to continue from; it holds {steps}"
            )
        later = [file for file in found if file.step > step]
        with _as_write_errors(self.folder):
            if any(nobody_holds(file.path) is False for file in later):
                raise CheckpointWriteError(
                    f"{self.folder}: a checkpoint above step {step} is in use by another process, "
                    "which may be the run itself. End it first, or save to another folder."
                )
            set_aside(file.path for file in later)

    def _prune(self, saving: Hold) -> None:
        """Remove this manager's files that are neither among the last nor the best."""
        files = step_files(self.folder)
        others = [file.path for file in files if file.path not in self._own]
        if others and self._own.take_over(others, saving) is None:
            say_once(self.folder, NO_LOCKS, stacklevel=4)
        ours = self._own.in_order(files)
        current = newest_of_each_step(ours)
        kept = {
            *self._own.in_order(current)[-self.keep_last :],
            *self._best(current, self.keep_best),
        }
        for file in ours:
            if file not in kept:
                self._remove(file.path)

    def _remove(self, path: Path) -> None:
        if nobody_holds(path) is False:
            return  # somebody is reading it: it goes at a later save
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            warnings.warn(f"Could not remove an old checkpoint: {error}", stacklevel=5)

    def _best(self, files: list[StepFile], count: int) -> list[StepFile]:
        rated = [f for f in files if f.metric == self.metric and not math.isnan(f.value)]
        return sorted(rated, key=lambda f: (self.sign * f.value, f.step))[::-1][:count]


@contextmanager
def _as_write_errors(folder: Path) -> Iterator[None]:
    """A folder that is gone or closed to us is an error of the save, and says so."""
    try:
        yield
    except MissingCheckpointError as error:
        raise CheckpointWriteError(f"{error} Nothing was saved.") from error
    except OSError as error:
        raise CheckpointWriteError(
            f"{folder}: nothing was saved there: {error.strerror}. Check that it is a folder, and "
            "yours, with `ls -ld`."
        ) from error

"""A run's folder of sharded checkpoints: a new one for each step, and the newest that is whole.

All ranks call these functions together and get the same answer.
"""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from torch.distributed.checkpoint.api import CheckpointException

from course_utils.checkpoint.step_files import ABANDONED, set_aside
from course_utils.distributed import commit
from course_utils.distributed.files import CheckedReader
from course_utils.distributed.ranks import gather, on_rank_zero, rank, ranks
from course_utils.errors import (
    CheckpointError,
    CheckpointWriteError,
    DamagedCheckpointError,
    MissingCheckpointError,
)

# It is meant: without a process group, one process does it all.
warnings.filterwarnings("ignore", message="torch.distributed is disabled")


def new_checkpoint(folder: Path, step: int) -> Path:
    """Make an empty folder for a step; what a save that never ended left there is removed.

    Raises:
        CheckpointWriteError: the step was saved before, the folder holds a later one, or it cannot
            be made.
    """
    checkpoint = commit.step_folder(folder, step)

    def prepare() -> None:
        later = [c for c in commit.committed(folder) if commit.step_of(c) > step]
        if later:
            raise CheckpointWriteError(
                f"{folder}: step {step} was not saved, because the folder holds step "
                f"{commit.step_of(later[-1])} of an earlier run: restoring would take that one. "
                "Save to another folder, or go on from a step that is there with "
                f"continue_from(folder, STEP), which moves later ones to {ABANDONED}/."
            )
        if commit.is_committed(checkpoint):
            raise CheckpointWriteError(
                f"{checkpoint}: this step is saved already and will not be overwritten; "
                "save another step, or remove the folder"
            )
        try:
            if checkpoint.exists():
                commit.remove(checkpoint)
            checkpoint.mkdir(parents=True)
        except OSError as error:
            raise CheckpointWriteError(
                f"{checkpoint}: the folder cannot be made ({error.strerror})"
            ) from error

    on_rank_zero(prepare)
    return checkpoint


def continue_from(folder: Path, step: int) -> None:
    """Let a run go on from a step: its later checkpoints are moved to ``abandoned/``, durably.

    Load that step, then save what comes after it.

    Raises:
        MissingCheckpointError: the step was not committed; nothing was moved.
        CheckpointWriteError: the system does not let the folders be moved.
    """

    def move() -> None:
        if not commit.is_committed(commit.step_folder(folder, step)):
            raise MissingCheckpointError(f"{folder}: no checkpoint of step {step} to continue from")
        later = [c for c in commit.step_folders(folder) if commit.step_of(c) > step]
        try:
            set_aside(later)
        except OSError as error:
            raise CheckpointWriteError(
                f"{folder}: later checkpoints cannot be moved ({error.strerror})"
            ) from error

    on_rank_zero(move)


def open_checkpoint(folder: Path, step: int | None) -> tuple[Path, CheckedReader]:
    """Return a checkpoint whose files are whole, and its reader.

    Args:
        folder: where the run's checkpoints are.
        step: which; else the newest that is whole, with a warning for each damaged one skipped.

    Raises:
        MissingCheckpointError: none was committed.
        DamagedCheckpointError: a file is missing or damaged; the message names it.
    """
    if step is None:
        candidates = on_rank_zero(lambda: commit.committed(folder)[::-1])
    else:
        candidates = [commit.step_folder(folder, step)]
    if not candidates:
        raise MissingCheckpointError(f"{folder}: no checkpoint was committed here")
    for checkpoint in candidates:
        try:
            return checkpoint, CheckedReader(checkpoint, _verified(checkpoint))
        except DamagedCheckpointError as error:
            if checkpoint == candidates[-1]:
                raise
            warnings.warn(f"skipped: {error}", stacklevel=3)
    raise AssertionError("unreachable")


def prune(folder: Path, keep_last: int = 3) -> None:
    """Remove what is older than the newest ``keep_last`` committed checkpoints.

    Raises:
        ValueError: ``keep_last`` is less than 1.
    """
    if keep_last < 1:
        raise ValueError(f"keep_last must be 1 or more, not {keep_last}")

    def remove_older() -> None:
        for kept in commit.committed(folder)[-keep_last:][:1]:
            for old in commit.step_folders(folder):
                if commit.step_of(old) < commit.step_of(kept):
                    commit.remove(old)

    on_rank_zero(remove_older)


@contextmanager
def named_errors(checkpoint: Path, kind: type[CheckpointError]) -> Iterator[None]:
    """Turn DCP's exception, which ``except Exception`` would miss, into one of ours.

    Args:
        checkpoint: its folder, for the message.
        kind: the error to raise, unless a rank raised one of ours.
    """
    try:
        yield
    except CheckpointException as error:
        causes = {number: cause for number, (cause, _) in error.failures.items()}
        kinds = [type(cause) for cause in causes.values() if isinstance(cause, CheckpointError)]
        text = "; ".join(f"rank {number}: {cause}" for number, cause in causes.items())
        raise (kinds or [kind])[0](f"{checkpoint}: {text}") from error


def _verified(checkpoint: Path) -> dict[str, commit.Part]:
    """Check every file of a checkpoint, each on one rank, and return their list on all."""
    parts = on_rank_zero(lambda: commit.read_record(checkpoint))
    mine = list(parts.items())[rank() :: ranks()]
    found = [line for lines in gather(commit.problems(checkpoint, mine)) for line in lines]
    if found:
        raise DamagedCheckpointError(f"{'; '.join(sorted(found))}; use an older checkpoint")
    return parts

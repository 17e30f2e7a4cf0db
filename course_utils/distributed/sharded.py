"""Checkpoints of a model that is spread over many processes.

Every process (rank) writes its own part at the same time; any number of processes can load.
The work is done by ``torch.distributed.checkpoint`` (DCP). This module adds what a training job
needs around it: a commit point, checksums, a new folder for each step, random numbers, the place
in the data, and errors that name the file.

    folder/
        step-00000100/
            __0_0.distcp  __1_0.distcp     one file a rank
            .metadata                      which bytes of which file are which part of what
            commit.json                    the commit record: written last
        step-00000200/

All ranks must call these functions together. Without a process group they work in one process.
"""

import io
import warnings
from collections.abc import Collection
from concurrent.futures import Future
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
import torch.distributed.checkpoint as dcp
from torch import nn
from torch.distributed.checkpoint import TensorStorageMetadata
from zlib_ng.zlib_ng import crc32

from course_utils.checkpoint.torch_versions import version
from course_utils.distributed import commit
from course_utils.distributed.files import (
    SKIP,
    CommittingWriter,
    FlatSavePlanner,
    check_fits,
    plain_room,
    read_state,
)
from course_utils.distributed.flat import Path as Keys
from course_utils.distributed.flat import flatten, room_like
from course_utils.distributed.folder import named_errors, new_checkpoint, open_checkpoint
from course_utils.distributed.ranks import gather, rank
from course_utils.distributed.run import ShardedRun, named_here, state_of
from course_utils.errors import CheckpointWriteError, MismatchedCheckpointError
from course_utils.resume.parts import ModulePart
from course_utils.resume.rng import seed_everything
from course_utils.resume.wrapped import without_wrappers


def save_sharded(folder: Path, step: int, run: ShardedRun) -> Path:
    """Save a run as ``folder/step-…``; it counts once all ranks have written.

    Model and optimizer are saved by name, so that another number of ranks can load them; each
    rank's random numbers are saved as its own.

    Args:
        folder: where the run's checkpoints are; all ranks must see the same files there.
        step: optimizer steps done.
        run: what to save.

    Returns:
        The checkpoint's own folder.

    Raises:
        CheckpointWriteError: the step was saved before, a rank could not write, or the run holds
            something that could not be loaded again. Older checkpoints are untouched.
    """
    values, paths = _to_save(run, step)
    checkpoint = new_checkpoint(folder, step)
    with named_errors(checkpoint, CheckpointWriteError):
        writer = CommittingWriter(checkpoint)
        dcp.save(values, storage_writer=writer, planner=FlatSavePlanner(paths))
    return checkpoint


class AsyncSaver:
    """Saves in the background: training waits only while its state is copied to memory.

    Use it in a ``with`` block, which ends when the last save is committed. One save runs at a
    time; the next waits for it, so at most one copy of the state is held.

    Args:
        folder: where the run's checkpoints are.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        # Of its own: its messages must not mix with those of the training.
        self._group: Any = dist.new_group(backend="gloo") if dist.is_initialized() else None
        self._pending: tuple[Path, Future[Any]] | None = None

    def save(self, step: int, run: ShardedRun) -> None:
        """Copy the run's state, and start to save it as ``save_sharded`` does.

        Raises:
            CheckpointWriteError: this save cannot start, or the one before it failed.
        """
        self.wait()
        values, paths = _to_save(run, step)
        if version() < (2, 13):  # it copies what is on a GPU; 2.6 saves the CPU's as it changes
            values = {n: v.clone() if isinstance(v, torch.Tensor) else v for n, v in values.items()}
        checkpoint = new_checkpoint(self._folder, step)
        with named_errors(checkpoint, CheckpointWriteError):
            future = dcp.async_save(
                values,
                storage_writer=CommittingWriter(checkpoint),
                planner=FlatSavePlanner(paths),
                process_group=self._group,
            )
        assert isinstance(future, Future)
        self._pending = checkpoint, future

    def wait(self) -> None:
        """Wait until the save that is under way, if any, is committed.

        Raises:
            CheckpointWriteError: it failed.
        """
        if self._pending is not None:
            checkpoint, future = self._pending
            self._pending = None
            with named_errors(checkpoint, CheckpointWriteError):
                future.result()

    def __enter__(self) -> "AsyncSaver":
        return self

    def __exit__(self, *error: object) -> None:
        self.wait()


def load_sharded(
    folder: Path, run: ShardedRun, step: int | None = None, *, keep: Collection[str] = ()
) -> int:
    """Load a checkpoint into a run of any number of ranks, and return its step.

    All files are verified first, then read beside the run's own tensors, which needs memory for
    each rank's share once more: whatever goes wrong, the run is as it was before, on all ranks.

    Rank *n* goes on with the random numbers of the former rank *n*; a rank that did not exist
    then starts with new ones, made from the step and its number.

    Args:
        folder: where the run's checkpoints are.
        run: what to load into.
        step: which; else the newest that is whole, with a warning for each damaged one skipped.
        keep: names of parts, as for ``TrainState.load_state_dict``.

    Raises:
        MissingCheckpointError: none was committed.
        DamagedCheckpointError: a file is missing or damaged; the message names it.
        MismatchedCheckpointError: the checkpoint is of another model or optimizer.
        UnsafeCheckpointError: it would run code.
    """
    checkpoint, reader = open_checkpoint(folder, step)
    metadata = reader.read_metadata()
    found = commit.step_of(checkpoint)
    check_fits(checkpoint, metadata, run.module_states())
    with named_errors(checkpoint, MismatchedCheckpointError):
        state = read_state(reader, metadata, run.room(metadata), dcp.load)
    is_new = str(rank()) not in state.get("rng", {})
    # Build 0.1 saved no counters.
    run.load_by_name({"step": found, "epoch": run.epoch, **state}, keep)
    if is_new:
        seed_everything(found * 65_537 + rank())
    return found


def load_sharded_model(folder: Path, model: nn.Module, step: int | None = None) -> int:
    """Load only the model, for use or for fine-tuning, and return the checkpoint's step.

    Args and errors are those of ``load_sharded``.
    """
    checkpoint, reader = open_checkpoint(folder, step)
    metadata = reader.read_metadata()
    here = state_of(model)
    check_fits(checkpoint, metadata, {"model": here})
    with named_errors(checkpoint, MismatchedCheckpointError):
        state = read_state(reader, metadata, partial(_room_of_model, here), dcp.load)
    ModulePart("model", model).load(named_here(model, state["model"]))
    return commit.step_of(checkpoint)


def _to_save(run: ShardedRun, step: int) -> tuple[dict[str, Any], dict[str, Keys]]:
    """Return what a rank saves, and its keys; if one rank cannot, none does."""
    run.step = step
    values: dict[str, Any] = {}
    paths: dict[str, Keys] = {}
    problem = ""
    try:
        values, paths = flatten(run.state_by_name())
    except CheckpointWriteError as error:
        problem = str(error)
    failures = [f"rank {number}: {text}" for number, text in enumerate(gather(problem)) if text]
    if failures:
        raise CheckpointWriteError(f"step {step} was not saved: {failures[0]}")
    _warn_of_disagreement(run.model, values)
    return values, paths


def _room_of_model(here: dict[str, Any], keys: Keys, info: Any) -> Any:
    if keys[0] != "model":
        return SKIP
    like = here.get(".".join(map(str, keys[1:])))
    if not isinstance(like, torch.Tensor) or not isinstance(info, TensorStorageMetadata):
        return plain_room(keys, info)  # it is in an extra state
    return room_like(like, info.size, info.properties.dtype)


def _warn_of_disagreement(model: nn.Module, values: dict[str, Any]) -> None:
    """Say so if ranks disagree on a value of which one is saved, as BatchNorm's statistics are."""
    buffers = [name for name, b in model.named_buffers() if type(b) is torch.Tensor]
    mine = {f"model.{without_wrappers(name)}" for name in buffers} & values.keys()
    mine |= {n for n, v in values.items() if isinstance(v, io.BytesIO) and not n.startswith("rng.")}
    if not mine:
        return
    sums = gather({name: _checksum(values[name]) for name in sorted(mine)})
    unequal = [
        name.removeprefix("model.")
        for name in sums[0]
        if len({theirs.get(name) for theirs in sums}) > 1
    ]
    if unequal and rank() == 0:
        warnings.warn(
            f"ranks disagree on {', '.join(unequal)}; only one rank's value is saved, so a "
            "resumed run will differ: average them over the ranks, or use SyncBatchNorm",
            stacklevel=4,
        )


def _checksum(value: Any) -> int:
    if isinstance(value, io.BytesIO):
        return crc32(value.getvalue())
    return crc32(value.cpu().contiguous().reshape(-1).view(torch.uint8).numpy())

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

import warnings
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
import torch.distributed.checkpoint as dcp
from torch import nn
from torch.distributed.checkpoint import Metadata
from torch.distributed.checkpoint.state_dict import (
    get_model_state_dict,
    get_optimizer_state_dict,
    set_model_state_dict,
    set_optimizer_state_dict,
)
from torch.distributed.checkpoint.stateful import Stateful
from torch.optim import Optimizer
from torch.utils._pytree import tree_map_only
from zlib_ng.zlib_ng import crc32

from course_utils.distributed import commit
from course_utils.distributed.files import (
    CheckedReader,
    CommittingWriter,
    PlainLoadPlanner,
    check_fits,
    empty_state,
)
from course_utils.distributed.folder import named_errors, new_checkpoint, open_checkpoint
from course_utils.distributed.ranks import gather, rank
from course_utils.errors import (
    CheckpointWriteError,
    MismatchedCheckpointError,
)
from course_utils.resume.rng import RngState, seed_everything


@dataclass
class ShardedRun:
    """All that decides how a run of several processes goes on.

    Attributes:
        model: each rank's share of it (``fully_shard``), or the whole.
        optimizer: built on that model.
        sampler: the place in the data, counted in images of the whole run, so that it means the
            same to any number of ranks; anything with ``state_dict`` and ``load_state_dict``.
    """

    model: nn.Module
    optimizer: Optimizer
    sampler: Stateful


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
        CheckpointWriteError: the step was saved before, or a rank could not write. Older
            checkpoints are untouched.
    """
    checkpoint = new_checkpoint(folder, step)
    with named_errors(checkpoint, CheckpointWriteError):
        dcp.save(_state_of(run), storage_writer=CommittingWriter(checkpoint))
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
        checkpoint = new_checkpoint(self._folder, step)
        with named_errors(checkpoint, CheckpointWriteError):
            future = dcp.async_save(
                _state_of(run),
                storage_writer=CommittingWriter(checkpoint),
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


def load_sharded(folder: Path, run: ShardedRun, step: int | None = None) -> int:
    """Load a checkpoint into a run of any number of ranks, and return its step.

    All files are verified first, then read beside the run's own tensors, which needs memory for
    each rank's share once more: whatever goes wrong, the run is as it was before.

    Rank *n* goes on with the random numbers of the former rank *n*; a rank that did not exist
    then starts with new ones, made from the step and its number.

    Args:
        folder: where the run's checkpoints are.
        run: what to load into.
        step: which; else the newest that is whole, with a warning for each damaged one skipped.

    Raises:
        MissingCheckpointError: none was committed.
        DamagedCheckpointError: a file is missing or damaged; the message names it.
        MismatchedCheckpointError: the checkpoint is of another model or optimizer.
        UnsafeCheckpointError: it would run code.
    """
    checkpoint, reader = open_checkpoint(folder, step)
    metadata = reader.read_metadata()
    state = _room_for(run, metadata)
    check_fits(checkpoint, metadata, state)
    _read(checkpoint, reader, state)
    run.sampler.load_state_dict(state.get("sampler", {}))
    set_model_state_dict(run.model, state["model"])
    set_optimizer_state_dict(run.model, run.optimizer, state["optimizer"])
    if "rng" in state:
        RngState().load_state_dict(state["rng"][str(rank())])
    else:
        seed_everything(commit.step_of(checkpoint) * 65_537 + rank())
    return commit.step_of(checkpoint)


def load_sharded_model(folder: Path, model: nn.Module, step: int | None = None) -> int:
    """Load only the model, for use or for fine-tuning, and return the checkpoint's step.

    Args and errors are those of ``load_sharded``.
    """
    checkpoint, reader = open_checkpoint(folder, step)
    state = _beside({"model": get_model_state_dict(model)})
    check_fits(checkpoint, reader.read_metadata(), state)
    _read(checkpoint, reader, state)
    set_model_state_dict(model, state["model"])
    return commit.step_of(checkpoint)


def _state_of(run: ShardedRun) -> dict[str, Any]:
    _warn_of_unequal_buffers(run.model)
    optimizer = _optimizer_state(run.model, run.optimizer)
    if not run.optimizer.state:
        optimizer["state"] = {}
    return {
        "model": get_model_state_dict(run.model),
        "optimizer": optimizer,
        "sampler": run.sampler.state_dict(),
        "rng": {str(rank()): RngState().state_dict()},
    }


def _optimizer_state(model: nn.Module, optimizer: Optimizer) -> dict[str, Any]:
    """Return the optimizer's state by parameter name.

    DCP fills a new optimizer's state by a step with zero gradients, which Adam counts: saved or
    not, the run would go on from step 1. So a new optimizer is made new again.
    """
    is_new = not optimizer.state
    state = get_optimizer_state_dict(model, optimizer)
    if is_new:
        optimizer.state.clear()
    return state


def _room_for(run: ShardedRun, metadata: Metadata) -> dict[str, Any]:
    """Return room for what this rank reads of a checkpoint."""
    model = get_model_state_dict(run.model)
    optimizer = _optimizer_state(run.model, run.optimizer)
    if not any(name.startswith("optimizer.state.") for name in metadata.state_dict_metadata):
        optimizer["state"] = {}  # saved before the first step
    own_random = f"rng.{rank()}."
    others = empty_state(metadata, lambda name: name.startswith(("sampler.", own_random)))
    return _beside({"model": model, "optimizer": optimizer}) | others


def _beside(state: dict[str, Any]) -> dict[str, Any]:
    """Return the same state with new tensors, to be read into."""
    return tree_map_only(torch.Tensor, torch.empty_like, state)


def _warn_of_unequal_buffers(model: nn.Module) -> None:
    """Say so if ranks disagree on a buffer, as BatchNorm's statistics do: one value is saved."""
    mine = {name: buffer for name, buffer in model.named_buffers() if type(buffer) is torch.Tensor}
    if not mine:
        return
    sums = gather({name: _checksum(buffer) for name, buffer in mine.items()})
    unequal = [name for name in mine if len({theirs[name] for theirs in sums}) > 1]
    if unequal and rank() == 0:
        warnings.warn(
            f"ranks disagree on {', '.join(unequal)}; only one rank's value is saved, so a "
            "resumed run will differ: average them over the ranks, or use SyncBatchNorm",
            stacklevel=4,
        )


def _checksum(tensor: torch.Tensor) -> int:
    return crc32(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())


def _read(checkpoint: Path, reader: CheckedReader, state: dict[str, Any]) -> None:
    with named_errors(checkpoint, MismatchedCheckpointError):
        dcp.load(state, storage_reader=reader, planner=PlainLoadPlanner())

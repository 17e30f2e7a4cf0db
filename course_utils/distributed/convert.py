"""Turn a sharded checkpoint into one file, and one file into a sharded checkpoint.

One process does it, without a process group; it needs memory for the whole state.
"""

import inspect
import warnings
from collections import OrderedDict
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
import torch.distributed.checkpoint as dcp

from course_utils.checkpoint import load_checkpoint, save_checkpoint
from course_utils.distributed.files import (
    SKIP,
    CommittingWriter,
    FlatSavePlanner,
    plain_room,
    read_state,
)
from course_utils.distributed.flat import Path as Keys
from course_utils.distributed.flat import flatten
from course_utils.distributed.folder import named_errors, new_checkpoint, open_checkpoint
from course_utils.errors import (
    CheckpointWriteError,
    DamagedCheckpointError,
    MismatchedCheckpointError,
)
from course_utils.files.durable import write_atomically


def to_one_file(folder: Path, path: Path, step: int | None = None) -> None:
    """Write a sharded checkpoint as one file.

    A ``.safetensors`` file gets the model's tensors. Any other gets all, as ``save_checkpoint``
    writes it: ``{"model": …, "optimizer": …, "sampler": …, "rng": {"0": …, "1": …}}``; load its
    optimizer, which is by name, with ``torch.distributed.checkpoint.state_dict``'s
    ``set_optimizer_state_dict``.

    Args:
        folder: where the run's checkpoints are.
        path: the file to write.
        step: which checkpoint; else the newest that is whole.

    Raises:
        CheckpointError: as ``load_sharded`` and ``save_checkpoint`` do.
    """
    only_model = path.suffix == ".safetensors"
    checkpoint, reader = open_checkpoint(folder, step)

    def room(keys: Keys, info: Any) -> Any:
        return SKIP if only_model and keys[0] != "model" else plain_room(keys, info)

    with named_errors(checkpoint, DamagedCheckpointError):
        state = read_state(reader, reader.read_metadata(), room, _alone(dcp.load))
    if only_model:
        content = safetensors.torch.save(_tensors_of(path, state["model"]))
        write_atomically(path, lambda file: file.write(content))
    else:
        save_checkpoint(path, state)


def from_one_file(path: Path, folder: Path, step: int) -> Path:
    """Write what is in one file as a sharded checkpoint, for any number of ranks to load.

    Args:
        path: a file of ``to_one_file``, or any model's state_dict as ``.pt`` or ``.safetensors``;
            from the latter only ``load_sharded_model`` can load.
        folder: where the run's checkpoints are.
        step: the step it is to have.

    Returns:
        The checkpoint's own folder.

    Raises:
        CheckpointError: as ``load_checkpoint`` and ``save_sharded`` do.
        MismatchedCheckpointError: the file's optimizer state is by position.
    """
    state = _read_file(path)
    if _by_position(state.get("optimizer")):
        raise MismatchedCheckpointError(
            f"{path}: its optimizer state is by position; save what get_optimizer_state_dict "
            "(torch.distributed.checkpoint.state_dict) returns, which is by name"
        )
    values, paths = flatten({key: _plain_dicts(value) for key, value in state.items()})
    checkpoint = new_checkpoint(folder, step)
    with named_errors(checkpoint, CheckpointWriteError):
        writer = CommittingWriter(checkpoint)
        _alone(dcp.save)(values, storage_writer=writer, planner=FlatSavePlanner(paths))
    return checkpoint


def _alone(work: Callable[..., Any]) -> Callable[..., Any]:
    """DCP's load or save for one process; before PyTorch 2.9 it is that without a process group."""
    takes_it = "no_dist" in inspect.signature(work).parameters
    return partial(work, no_dist=True) if takes_it else work


def _tensors_of(path: Path, model: dict[str, Any]) -> dict[str, torch.Tensor]:
    """Leave out, and name, what a file of tensors has no place for."""
    tensors = {name: value for name, value in model.items() if isinstance(value, torch.Tensor)}
    if others := sorted(model.keys() - tensors.keys()):
        warnings.warn(
            f"{path}: {', '.join(others)} is no tensor and is left out; a .pt file takes it",
            stacklevel=3,
        )
    return tensors


def _plain_dicts(value: Any) -> Any:
    """A model's state is an OrderedDict."""
    if isinstance(value, OrderedDict):
        return {key: _plain_dicts(inner) for key, inner in value.items()}
    return value


def _by_position(optimizer: Any) -> bool:
    """Whether the state of an optimizer, or of one in a list, is by the parameters' numbers."""
    if isinstance(optimizer, list | tuple):
        return any(map(_by_position, optimizer))
    state = optimizer.get("state") if isinstance(optimizer, dict) else None
    return isinstance(state, dict) and any(isinstance(name, int) for name in state)


def _read_file(path: Path) -> dict[str, Any]:
    state = load_checkpoint(path)
    if not isinstance(state, dict):
        raise MismatchedCheckpointError(f"{path}: it holds a {type(state).__name__}, not a state")
    return {"model": state} if all(isinstance(v, torch.Tensor) for v in state.values()) else state

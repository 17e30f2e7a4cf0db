"""Load a checkpoint into the objects that wait for it, without a second copy in memory.

The usual ``model.load_state_dict(torch.load(path))`` reads a file into fresh memory and copies
it into memory that was there all along. Here each record is read straight into the parameter.

Nothing is half-loaded: first all that will be read is verified and compared with the objects,
and only then the first byte is written. The file is read twice for that; the second time it
lies in the system's cache, where it fits.
"""

import os
import warnings
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from torch import nn
from torch.optim import Optimizer

from course_utils.checkpoint import read_into
from course_utils.checkpoint.explain import explained
from course_utils.checkpoint.load import load_checkpoint
from course_utils.checkpoint.read_into import Reading
from course_utils.checkpoint.restore_files import is_whole, plans_for
from course_utils.checkpoint.restore_ordinary import hand_over, load_filled
from course_utils.checkpoint.restore_plan import Plan, refuse_overlaps
from course_utils.checkpoint.saved_tensors import NotInPlaceError
from course_utils.errors import (
    DamagedCheckpointError,
    DamagedRecordError,
    UnsupportedCheckpointError,
)
from course_utils.files.folder import stands_for_folder
from course_utils.formats.garbage import collector_paused

MIXTURE = "what it was loaded into holds old and new values now. Load again."


def restore_checkpoint(path: str | os.PathLike[str], target: Any) -> None:
    """Load a checkpoint into objects, straight into their tensors' memory.

    Parameters, persistent buffers and the state of optimizers are filled where they are; an
    optimizer that has not stepped gets its state. Other dtypes, strides and devices go through
    a small buffer. Where a class decides by itself how it is loaded (load hooks, subclasses of
    tensors), the ordinary way is taken, with a warning.

    Args:
        path: a file by ``save_checkpoint`` or ``torch.save``, or for a module a safetensors file
            of its state_dict, which has no checksums: then only its size is verified; or a folder
            of shards of either kind, or its index.
        target: a module, whose state_dict the file is; or a dict from entries of the checkpoint
            to modules, optimizers and other objects with ``load_state_dict``, which leaves other
            entries of the file alone; or a `TrainState`, whose other parts first load their state
            in a rehearsal and are put back, so that none can fail once the first byte is written.

    Raises:
        MismatchedCheckpointError: the file does not fit; says all that does not.
        UnsupportedCheckpointError: a folder that cannot be loaded in place.
        CheckpointError: as for `load_checkpoint`. Whatever is raised, nothing has been changed.
            The exceptions are an interrupt, and, as the message says, a disk that fails at the
            second reading, a file that somebody overwrites in place meanwhile, and a part that
            refuses the state it took in the rehearsal.
    """
    path = Path(path)
    try:
        with explained(path):
            _restore(path, target)
    except NotInPlaceError as error:
        if stands_for_folder(path):
            raise UnsupportedCheckpointError(
                f"{path}: cannot be loaded in place: {error}. Nothing was loaded. Use "
                "course_utils.partial.plan_partial_load."
            ) from None
        state = load_checkpoint(path)
        if is_whole(target):  # takes all of it or nothing by itself
            target.load_state_dict(state)
        else:
            hand_over(path, target, state)
        warnings.warn(
            f"{path}: loaded the ordinary way, with a second copy in memory: {error}", stacklevel=2
        )


def _restore(path: Path, target: Any) -> None:
    with ExitStack() as opened:
        with collector_paused():
            plans = plans_for(path, target, opened)
        live = [reading for plan in plans for reading in plan.live]
        refuse_overlaps(live)
        _read(plans, lambda plan: plan.new, "nothing was loaded.")
        if is_whole(target):
            target.rehearse(plans[0].state)
        elif isinstance(target, Mapping):  # what is not filled in place may yet refuse its state
            hand_over(path, {n: p for n, p in target.items() if not _is_filled(p)}, plans[0].state)
        _read(plans, lambda plan: plan.live, MIXTURE)
        for plan in plans:
            if plan.file.changed():
                raise DamagedCheckpointError(
                    f"{plan.file.path}: was overwritten while it was read: {MIXTURE} Replace files "
                    "instead, as save_checkpoint does."
                )
    if is_whole(target):
        target.load_filled(plans[0].state)
    elif isinstance(target, Mapping):
        for name in filter(lambda name: _is_filled(target[name]), target):
            load_filled(target[name], plans[0].state[name])
    else:
        load_filled(target, {k: v for plan in plans for k, v in plan.state.items()})


def _is_filled(part: Any) -> bool:
    return isinstance(part, nn.Module | Optimizer)


def _read(plans: list[Plan], which: Callable[[Plan], list[Reading]], outcome: str) -> None:
    for plan in plans:
        try:
            read_into.read(plan.file, which(plan))
        except (DamagedRecordError, OSError) as error:
            raise DamagedCheckpointError(
                f"{plan.file.path}: was whole, and could then not be read a second time ({error}): "
                f"{outcome}"
            ) from error

"""Load a checkpoint into the objects that wait for it, without a second copy in memory.

The usual ``model.load_state_dict(torch.load(path))`` reads a file into fresh memory and copies
it into memory that was there all along. Here each record is read straight into the parameter.

Nothing is half-loaded: first all that will be read is verified and compared with the objects,
and only then the first byte is written. The file is read twice for that; the second time it
lies in the system's cache, where it fits.
"""

import os
import sys
import warnings
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol, TypeGuard

from course_utils.checkpoint import read_into
from course_utils.checkpoint.explain import explained
from course_utils.checkpoint.load import load_checkpoint, read_others, stored_records
from course_utils.checkpoint.load_others import CompressedError
from course_utils.checkpoint.read_into import Reading
from course_utils.checkpoint.restore_plan import Plan
from course_utils.checkpoint.saved_tensors import NotInPlaceError
from course_utils.checkpoint.verified_read import has_checksums
from course_utils.errors import (
    DamagedCheckpointError,
    DamagedRecordError,
    MismatchedCheckpointError,
)
from course_utils.files.locks import lock_shared, not_for_children
from course_utils.files.open_file import OpenFile
from course_utils.formats.garbage import collector_paused
from course_utils.formats.open import open_contents, require_tensors
from course_utils.formats.pickle import read_pickle
from course_utils.formats.pickle_nodes import MalformedPickleError
from course_utils.formats.safetensors import MalformedHeaderError, is_safetensors, read_header
from course_utils.formats.torch_layout import follows_layout, predict
from course_utils.formats.zip import ZIP, Record

MIXTURE = "what it was loaded into holds old and new values now. Load again."


def restore_checkpoint(path: str | os.PathLike[str], target: Any) -> None:
    """Load a checkpoint into objects, straight into their tensors' memory.

    Parameters, persistent buffers and the state of optimizers are filled where they are; an
    optimizer that has not stepped gets its state. Other dtypes, strides and devices go through
    a small buffer. Where a class decides by itself how it is loaded (load hooks, subclasses of
    tensors), the ordinary way is taken, with a warning.

    Args:
        path: a file by ``save_checkpoint`` or ``torch.save``, or for a module a safetensors file
            of its state_dict, which has no checksums: then only its size is verified.
        target: a module, whose state_dict the file is; or a dict from entries of the checkpoint
            to modules, optimizers and other objects with ``load_state_dict``, which leaves other
            entries of the file alone; or a `TrainState`, whose other parts first load their state
            in a rehearsal and are put back, so that none can fail once the first byte is written.

    Raises:
        MismatchedCheckpointError: the file does not fit; says all that does not.
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
        _hand_over(target, load_checkpoint(path))
        warnings.warn(
            f"{path}: loaded the ordinary way, with a second copy in memory: {error}", stacklevel=2
        )


class _Whole(Protocol):
    """What restores all of its parts or none, like `TrainState`, which documents these."""

    def in_place(self) -> dict[str, Any]: ...
    def rehearse(self, state: dict[str, Any]) -> None: ...
    def load_filled(self, state: dict[str, Any]) -> None: ...


def _restore(path: Path, target: Any) -> None:
    with not_for_children(lambda: OpenFile(path)) as file:
        lock_shared(file)
        before = os.fstat(file.fileno())
        with collector_paused():
            plan = (_planned_safetensors if is_safetensors(file) else _planned)(file, target)
        if _is_whole(target):
            _read(file, plan.new, "nothing was loaded.")
            target.rehearse(plan.state)
            _read(file, plan.live, MIXTURE)
        else:
            _read(file, [*plan.new, *plan.live], MIXTURE)
        after = os.fstat(file.fileno())
    if (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns):
        raise DamagedCheckpointError(
            f"{path}: was overwritten while it was read: {MIXTURE} Replace files instead, as "
            "save_checkpoint does."
        )
    if _is_whole(target):
        target.load_filled(plan.state)
    else:
        _hand_over(target, plan.state)


def _is_whole(target: Any) -> TypeGuard[_Whole]:
    return hasattr(target, "in_place") and hasattr(target, "load_filled")


def _read(file: OpenFile, readings: Iterable[Reading], outcome: str) -> None:
    try:
        read_into.read(file.fileno(), readings)
    except (DamagedRecordError, OSError) as error:
        raise DamagedCheckpointError(
            f"{file.path}: was whole, and could then not be read a second time ({error}): {outcome}"
        ) from error


def _hand_over(target: Any, state: Any) -> None:
    """Load a state; tensors that were filled in place are the objects' own."""
    if isinstance(target, Mapping):
        for name, part in target.items():
            part.load_state_dict(state[name])
    else:
        target.load_state_dict(state)


def _planned(file: OpenFile, target: Any) -> Plan:
    """Plan and verify: by the layout that torch's files have, else by a stricter reading."""
    if file.read_at(0, 4) != ZIP:
        kind = require_tensors(open_contents(file, file.path)).kind
        raise NotInPlaceError(f"it is a {kind}")
    try:
        with suppress(DamagedRecordError, DamagedCheckpointError):
            plan = _plan_by(file, target, stored_records(file.path, file, predict))
            if plan:
                return plan
        plan = _plan_by(file, target, stored_records(file.path, file), predicted=False)
    except CompressedError:
        raise NotInPlaceError("its records are compressed") from None
    assert plan
    return plan


def _plan_by(
    file: OpenFile, target: Any, records: dict[str, Record], *, predicted: bool = True
) -> Plan | None:
    """Return the plan; None if the records are not where they were predicted."""
    if not has_checksums(records.values()):
        raise NotInPlaceError("it has no checksums")
    others = read_others(file, records)
    if others.get("byteorder", b"little").decode() != sys.byteorder:
        raise NotInPlaceError("its numbers are of the other byte order")
    try:
        tree = read_pickle(others["data.pkl"]).root
    except MalformedPickleError as error:
        raise DamagedRecordError("data.pkl", str(error)) from None
    plan = _plan(file.path, target, tree, records)
    read_into.verify(file.fileno(), plan.records())
    as_torch_does = follows_layout(file, list(records.values()), others.get(".storage_alignment"))
    return plan if as_torch_does or not predicted else None


def _planned_safetensors(file: OpenFile, target: Any) -> Plan:
    try:
        header = read_header(file)
    except MalformedHeaderError as error:
        raise DamagedCheckpointError(
            f"{file.path}: {error}. Use an earlier checkpoint or another copy."
        ) from None
    return _plan(file.path, target, header.tensors, {})


def _plan(path: Path, target: Any, tree: Any, records: dict[str, Record]) -> Plan:
    if not _is_whole(target):
        return Plan(path, target, tree, records)
    if not isinstance(tree, dict):
        raise NotInPlaceError(f"it holds no dict of a {type(target).__name__}'s parts")
    try:
        return Plan(path, dict.fromkeys(tree) | target.in_place(), tree, records, exact=True)
    except MismatchedCheckpointError:  # it says itself what does not fit, or how it fits after all
        raise NotInPlaceError("names, shapes or dtypes differ") from None

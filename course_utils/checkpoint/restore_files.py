"""Open the files of a checkpoint that is to be restored, verify them, and plan what goes where."""

import errno
import sys
from collections.abc import Iterable
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any, Protocol, TypeGuard

import torch
from torch import nn

from course_utils.checkpoint import read_into
from course_utils.checkpoint.explain import explained
from course_utils.checkpoint.load import read_others, stored_records
from course_utils.checkpoint.load_others import CompressedError
from course_utils.checkpoint.restore_plan import Plan, refuse_misfits, refuse_own_ways
from course_utils.checkpoint.saved_tensors import NotInPlaceError
from course_utils.checkpoint.verified_read import has_checksums
from course_utils.errors import (
    DamagedCheckpointError,
    DamagedRecordError,
    MismatchedCheckpointError,
    UnreadableCheckpointError,
)
from course_utils.files.folder import open_folder, stands_for_folder
from course_utils.files.locks import lock_shared, not_for_children
from course_utils.files.open_file import OpenFile
from course_utils.formats.checksum import is_unchecked
from course_utils.formats.contents import SAFETENSORS, Contents
from course_utils.formats.folder_kinds import MODEL, SHARDED
from course_utils.formats.open import open_contents, require_tensors
from course_utils.formats.pickle import read_pickle
from course_utils.formats.pickle_nodes import MalformedPickleError
from course_utils.formats.safetensors import Entry, is_safetensors
from course_utils.formats.torch_layout import follows_layout, predict
from course_utils.formats.zip import ZIP, Record


class Whole(Protocol):
    """What restores all of its parts or none, like `TrainState`, which documents these."""

    def in_place(self) -> dict[str, Any]:
        """Return the parts to fill where they are."""

    def rehearse(self, state: dict[str, Any]) -> None:
        """Load the other parts, and put them back."""

    def load_filled(self, state: dict[str, Any]) -> None:
        """Load all parts, those in place being filled."""

    def load_state_dict(self, state: Any) -> None:
        """Load all parts, the ordinary way."""


def is_whole(target: Any) -> TypeGuard[Whole]:
    """Whether a target restores all of its parts or none by itself."""
    return hasattr(target, "in_place") and hasattr(target, "load_filled")


def plans_for(path: Path, target: Any, opened: ExitStack) -> list[Plan]:
    """Verify a checkpoint's files and plan what goes where, a plan a file.

    Args:
        path: of a file, or of a folder of shards or its index.
        target: as for ``restore_checkpoint``.
        opened: closes the files.

    Raises:
        CheckpointError: as for ``restore_checkpoint``.
        NotInPlaceError: this is not the way to load it.
    """
    if stands_for_folder(path):
        return _planned_folder(path, target, opened)
    file = _open(path, opened)
    if file.size <= read_into.ALONE:
        file.keep(torch.empty(file.size, dtype=torch.uint8, device="cpu").numpy().data)
    return [_planned_file(file, target)]


def _open(path: Path, opened: ExitStack) -> OpenFile:
    try:
        file = opened.enter_context(not_for_children(lambda: OpenFile(path)))
    except UnreadableCheckpointError as error:
        if isinstance(error.__cause__, OSError) and error.__cause__.errno == errno.EMFILE:
            raise NotInPlaceError("more files than this process may have open at once") from None
        raise
    lock_shared(file)
    return file


def _planned_file(file: OpenFile, target: Any) -> Plan:
    return (_planned_safetensors if is_safetensors(file) else _planned)(file, target)


def _planned_folder(path: Path, module: Any, opened: ExitStack) -> list[Plan]:
    """Plan the shards one by one, each with the tensors of the module that it holds."""
    folder = open_folder(path)
    if folder.kind not in (SHARDED, MODEL):
        raise NotInPlaceError(f"it is a {folder.kind}")
    if not isinstance(module, nn.Module):
        raise NotInPlaceError(f"a folder of weights does not fit a {type(module).__name__}")
    refuse_own_ways(module)
    waiting = module.state_dict(keep_vars=True)
    names = [list(_entries(shard)) for shard in folder.files]
    found = {name for shard in names for name in shard}
    refuse_misfits(path, [
        *(f"{name} is not in the folder" for name in waiting if name not in found),
        *(f"{name} is in the folder only" for name in found if name not in waiting),
    ])  # fmt: skip
    plans = []
    for shard, here in zip(folder.files, names, strict=True):
        with explained(shard.path):
            file = _open(shard.path, opened)
            plans.append(_planned_file(file, {name: waiting[name] for name in here}))
    return plans


def _entries(shard: Contents) -> Iterable[str]:
    if shard.kind == SAFETENSORS:
        return shard.tensors
    return shard.tree if isinstance(shard.tree, dict) else ()


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
    if any(map(is_unchecked, records.values())):
        raise NotInPlaceError("some of its records have no checksum")
    others = read_others(file, records)
    if others.get("byteorder", b"little").decode() != sys.byteorder:
        raise NotInPlaceError("its numbers are of the other byte order")
    try:
        tree = read_pickle(others["data.pkl"]).root
    except MalformedPickleError as error:  # its bytes are right: the ordinary way says more
        raise NotInPlaceError(f"its pickle is not read: {error}") from None
    plan = _plan(file, target, tree, records)
    read_into.verify(file, plan.records())
    as_torch_does = follows_layout(file, list(records.values()), others.get(".storage_alignment"))
    return plan if as_torch_does or not predicted else None


def _planned_safetensors(file: OpenFile, target: Any) -> Plan:
    contents = open_contents(file, file.path)
    for other in contents.others.values():
        raise NotInPlaceError(f"{other.name} is not read: {other.reason}")
    tree = {}
    for name, info in contents.tensors.items():
        record = contents.records[name]
        tree[name] = Entry(info.dtype, info.shape, record.offset, record.offset + record.size)
    return _plan(file, target, tree, {})


def _plan(file: OpenFile, target: Any, tree: Any, records: dict[str, Record]) -> Plan:
    if not is_whole(target):
        return Plan(file, target, tree, records)
    if not isinstance(tree, dict):
        raise NotInPlaceError(f"it holds no dict of a {type(target).__name__}'s parts")
    try:
        return Plan(file, dict.fromkeys(tree) | target.in_place(), tree, records, exact=True)
    except MismatchedCheckpointError:  # it says itself what does not fit, or how it fits after all
        raise NotInPlaceError("names, shapes or dtypes differ") from None

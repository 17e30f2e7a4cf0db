"""Load a stranger's file if it is plain data, and nothing of it but that."""

import os
from collections import OrderedDict
from typing import Any

import torch
from torch import Tensor

from course_utils.checkpoint.load import load_open
from course_utils.errors import (
    CheckpointError,
    DamagedCheckpointError,
    NotACheckpointError,
    UnsafeCheckpointError,
    UnsupportedCheckpointError,
)
from course_utils.files.open_file import OpenFile
from course_utils.formats.contents import CHECKPOINTS, SAFETENSORS
from course_utils.formats.judge import Verdict
from course_utils.safety.audit import audit_open

LIMIT = 64 * 2**30  # bytes of file that `load_untrusted` reads, if not told otherwise
DEEPEST = 256  # tuples in tuples; real checkpoints stay below ten


def load_untrusted(path: str | os.PathLike[str], *, limit: int = LIMIT) -> Any:
    """Load a stranger's file if it is plain data, or refuse.

    First it is audited; then every checksum is verified; then plain containers and tensors are
    built from what the audit reads, or all of it by torch's weights-only unpickler, where it holds
    more; then whatever is more is dropped: attributes set on tensors and dictionaries (but
    ``_metadata``, which modules need), and tensor subclasses.

    Args:
        path: a checkpoint, also from before PyTorch 1.6, or a safetensors file.
        limit: most bytes the file may have.

    Returns:
        Tensors on the CPU in dicts, lists, tuples and sets, with numbers, strings and None.

    Raises:
        MissingCheckpointError: there is no such file.
        NotACheckpointError: it is something else.
        DamagedCheckpointError: it contradicts its checksums, or a part of it is missing.
        UnsafeCheckpointError: it needs more than plain data, or is larger than ``limit``.
        UnsupportedCheckpointError: it is nothing that torch.save writes, or torch cannot load it.
    """
    with OpenFile(path) as file:
        return _load(file, limit)


def _load(file: OpenFile, limit: int) -> Any:
    found, path = audit_open(file), file.path
    if found.verdict is not Verdict.PLAIN_DATA:
        reasons = "; ".join(f"{f.where or 'it'} {f.reason}" for f in found.findings[:3])
        raise _REFUSALS[found.verdict](f"{path}: {found.verdict.value}. {reasons}. Not loaded.")
    if file.size > limit:
        raise UnsafeCheckpointError(f"{path}: larger than the limit of {limit:,} bytes.")
    if found.format not in LOADED:
        raise NotACheckpointError(f"{path}: plain data, but a {found.format} and no checkpoint.")
    try:
        return _Copy().of(load_open(file))
    except CheckpointError:
        raise
    except Exception as error:  # of any type: a device of no such name, a shape that overflows
        raise UnsupportedCheckpointError(
            f"{path}: plain data, but torch {torch.__version__} cannot load it: {error}"
        ) from error


_REFUSALS: dict[Verdict, type[CheckpointError]] = {
    Verdict.NOT_A_CHECKPOINT: NotACheckpointError,
    Verdict.NEEDS_GLOBALS: UnsafeCheckpointError,
    Verdict.MALFORMED: UnsupportedCheckpointError,
    Verdict.DAMAGED: DamagedCheckpointError,
    Verdict.WOULD_RUN_CODE: UnsafeCheckpointError,
}


LOADED = (*CHECKPOINTS, SAFETENSORS)


class _Copy:
    """Copies containers and detaches tensors; what is shared stays shared."""

    def __init__(self) -> None:
        self._done: dict[int, Any] = {}
        self._unfilled: list[tuple[Any, Any]] = []  # a new dict or list, and what it is to hold

    def of(self, value: Any) -> Any:
        made = self._begun(value, DEEPEST)
        while self._unfilled:
            container, old = self._unfilled.pop()
            if isinstance(old, list):
                container.extend([self._begun(item, DEEPEST) for item in old])
                continue
            for key, item in old.items():
                container[self._begun(key, DEEPEST)] = self._begun(item, DEEPEST)
            if isinstance(getattr(old, "_metadata", None), dict):
                container._metadata = self._begun(dict(old.__dict__["_metadata"]), DEEPEST)
        return made

    def _begun(self, value: Any, depth: int) -> Any:
        if id(value) in self._done:
            return self._done[id(value)][0]
        if depth == 0:
            raise UnsafeCheckpointError(f"holds tuples nested more than {DEEPEST} deep")
        made: Any
        if isinstance(value, Tensor):
            made = value.detach()  # a new object, without attributes
            made = made if type(made) is Tensor else made.as_subclass(Tensor)
        elif isinstance(value, dict):
            made = OrderedDict() if isinstance(value, OrderedDict) else {}
            self._unfilled.append((made, value))
        elif type(value) is list:
            made = []
            self._unfilled.append((made, value))
        elif type(value) in (tuple, set, frozenset):
            made = type(value)([self._begun(item, depth - 1) for item in value])
        elif isinstance(value, _VALUES):
            return value
        else:
            raise UnsafeCheckpointError(f"holds a {type(value).__name__}, which is no plain data")
        self._done[id(value)] = (made, value)  # the value too: its id must not be used again
        return made


_VALUES = (
    bool, int, float, complex, str, bytes, bytearray, type(None),
    torch.dtype, torch.device, torch.Size, torch.layout, torch.qscheme,
)  # fmt: skip

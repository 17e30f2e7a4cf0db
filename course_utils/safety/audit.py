"""Files from strangers: say what loading one would do, and load it only if it is plain data."""

import html
import os
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from course_utils.checkpoint import load_checkpoint
from course_utils.errors import (
    CheckpointError,
    DamagedCheckpointError,
    MissingCheckpointError,
    NotACheckpointError,
    UnsafeCheckpointError,
)
from course_utils.formats.evidence import Evidence
from course_utils.formats.judge import Finding, Verdict
from course_utils.formats.readings import CHECKPOINT, LEGACY, SAFETENSORS, inspect
from course_utils.formats.source import Window
from course_utils.tables import Table

LIMIT = 64 * 2**30  # bytes of file that `load_untrusted` reads, if not told otherwise
DEEPEST = 256  # containers in containers; real checkpoints stay below ten


def audit(path: str | os.PathLike[str]) -> "Audit":
    """Say what loading a file would import and call, without running any of it.

    Reads checkpoints of every age, pickles, TorchScript and exported programs (``.pt2``),
    safetensors files, and the files inside them. Time and memory are bounded by the file's size.

    Raises:
        MissingCheckpointError: there is no such file.
    """
    path = Path(path)
    if not path.exists():
        raise MissingCheckpointError(f"{path}: there is no such file.")
    evidence = Evidence()
    if not path.is_file():
        evidence = Evidence(verdict=Verdict.NOT_A_CHECKPOINT)
        evidence.add(Verdict.NOT_A_CHECKPOINT, "", "is not a file but a folder, pipe or device")
        return _audited(path, [], evidence)
    with open(path, "rb") as file:
        size = os.fstat(file.fileno()).st_size
        kinds = inspect(Window(file.fileno(), 0, size), "", evidence) if size else []
    if not kinds:
        reason = "is nothing that torch, pickle or safetensors would load" if size else "is empty"
        evidence = Evidence(verdict=Verdict.NOT_A_CHECKPOINT)
        evidence.add(Verdict.NOT_A_CHECKPOINT, "", reason)
    return _audited(path, kinds, evidence)


def load_untrusted(path: str | os.PathLike[str], *, limit: int = LIMIT) -> Any:
    """Load a stranger's file if it is plain data, or refuse.

    First it is audited; then every checksum is verified; then torch's weights-only unpickler
    builds it; then whatever is more than tensors and plain containers is dropped: attributes set
    on tensors and dictionaries (but ``_metadata``, which modules need), and tensor subclasses.

    Args:
        path: a checkpoint, also from before PyTorch 1.6, or a safetensors file.
        limit: most bytes the file may have.

    Returns:
        Tensors on the CPU in dicts, lists, tuples and sets, with numbers, strings and None.

    Raises:
        MissingCheckpointError: there is no such file.
        NotACheckpointError: it is something else.
        DamagedCheckpointError: it contradicts itself or its checksums.
        UnsafeCheckpointError: it needs more than plain data, or is larger than ``limit``.
    """
    found = audit(path)
    path = Path(path)
    if found.verdict is not Verdict.PLAIN_DATA:
        reasons = "; ".join(f"{f.where or 'it'} {f.reason}" for f in found.findings[:3])
        raise _REFUSALS[found.verdict](f"{path}: {found.verdict.value}. {reasons}. Not loaded.")
    if path.stat().st_size > limit:
        raise UnsafeCheckpointError(f"{path}: larger than the limit of {limit:,} bytes.")
    load = _LOADERS.get(found.format)
    if load is None:
        raise NotACheckpointError(f"{path}: plain data, but a {found.format} and no checkpoint.")
    try:
        return _plain(load(path), {}, DEEPEST)
    except CheckpointError:
        raise
    except Exception as error:  # of any type: a device of no such name, a shape that overflows
        raise DamagedCheckpointError(f"{path}: torch cannot load it: {error}") from error


@dataclass(frozen=True, repr=False)
class Audit:
    """What loading a file would do.

    Attributes:
        path: the file.
        verdict: the worst of the findings; "plain data" if there are none.
        format: what the file is, for example "checkpoint"; "unknown" if nothing known.
        findings: why the verdict is what it is, worst first.
        imports: everything that loading would import, as ``module.name``.
        calls: what it would call that is not plain data, as Python would write it; at most 100.
    """

    path: Path
    verdict: Verdict
    format: str
    findings: tuple[Finding, ...]
    imports: frozenset[str]
    calls: tuple[str, ...]

    def as_dict(self) -> dict[str, Any]:
        """Return it as JSON takes it."""
        return {
            "file": str(self.path),
            "verdict": self.verdict.value,
            "format": self.format,
            "findings": [[f.verdict.value, f.where, f.reason] for f in self.findings],
            "imports": sorted(self.imports),
            "calls": list(self.calls),
        }

    @property
    def table(self) -> Table:
        """One row per finding."""
        rows = [(f.where or "the file", f.reason, f.verdict.value) for f in self.findings]
        return Table(rows, ["where", "what", "verdict"])

    def __str__(self) -> str:
        return "\n".join([self._headline(), *([str(self.table)] if self.findings else [])])

    __repr__ = __str__

    def _repr_html_(self) -> str:
        table = self.table._repr_html_() if self.findings else ""
        return f"<p>{html.escape(self._headline())}</p>{table}"

    def _headline(self) -> str:
        return f"{self.path.name}: {self.verdict.value} ({self.format})"


_REFUSALS: dict[Verdict, type[CheckpointError]] = {
    Verdict.NOT_A_CHECKPOINT: NotACheckpointError,
    Verdict.NEEDS_GLOBALS: UnsafeCheckpointError,
    Verdict.DAMAGED: DamagedCheckpointError,
    Verdict.WOULD_RUN_CODE: UnsafeCheckpointError,
}


_LOADERS: dict[str, Callable[[Path], Any]] = {
    CHECKPOINT: load_checkpoint,
    LEGACY: lambda path: torch.load(path, map_location="cpu", weights_only=True),
    SAFETENSORS: load_file,
}


def _audited(path: Path, kinds: list[str], evidence: Evidence) -> Audit:
    return Audit(
        path=path,
        verdict=evidence.verdict,
        format=" and ".join(kinds) or "unknown",
        findings=tuple(sorted(evidence.findings, key=lambda f: -f.verdict.rank)),
        imports=frozenset(evidence.imports),
        calls=tuple(evidence.calls),
    )


def _plain(value: Any, done: dict[int, Any], depth: int) -> Any:
    """Copy containers and detach tensors; what is shared stays shared."""
    if id(value) in done:
        return done[id(value)][0]
    if depth == 0:
        raise DamagedCheckpointError(f"containers nested more than {DEEPEST} deep")
    made: Any
    if isinstance(value, Tensor):
        made = value.detach()  # a new object, without attributes
        made = made if type(made) is Tensor else made.as_subclass(Tensor)
    elif isinstance(value, dict):
        made = OrderedDict() if isinstance(value, OrderedDict) else {}
        done[id(value)] = (made, value)
        for key, item in value.items():
            made[_plain(key, done, depth - 1)] = _plain(item, done, depth - 1)
        if isinstance(getattr(value, "_metadata", None), dict):
            made._metadata = _plain(dict(value.__dict__["_metadata"]), done, depth - 1)
    elif type(value) is list:
        made = []
        done[id(value)] = (made, value)
        made.extend(_plain(item, done, depth - 1) for item in value)
    elif type(value) in (tuple, set, frozenset):
        made = type(value)(_plain(item, done, depth - 1) for item in value)
    elif isinstance(value, _VALUES):
        return value
    else:
        raise UnsafeCheckpointError(f"holds a {type(value).__name__}, which is no plain data")
    done[id(value)] = (made, value)  # the value too: its id must not be used again
    return made


_VALUES = (
    bool, int, float, complex, str, bytes, bytearray, type(None),
    torch.dtype, torch.device, torch.Size, torch.layout, torch.qscheme,
)  # fmt: skip

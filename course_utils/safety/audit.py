"""Files from strangers: say what loading one would do, and load it only if it is plain data."""

import html
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from course_utils.errors import NotACheckpointError
from course_utils.files.folder import OpenFolder, stands_for_folder
from course_utils.files.open_file import OpenFile
from course_utils.formats.allowed import JUDGED_FOR
from course_utils.formats.evidence import Evidence
from course_utils.formats.folder_kinds import foreign_folder
from course_utils.formats.judge import Finding, Verdict
from course_utils.formats.neighbours import find_neighbour
from course_utils.formats.readings import inspect
from course_utils.formats.source import Window
from course_utils.safety.audit_folder import audit_folder
from course_utils.tables import Table


def audit(path: str | os.PathLike[str]) -> "Audit":
    """Say what loading a file would import and call, without running any of it.

    Reads checkpoints of every age, pickles, TorchScript and exported programs (``.pt2``),
    safetensors files, and the files inside them. Time and memory are bounded by the file's size.
    A folder that is one checkpoint, or its index, is looked at as a whole.

    Raises:
        MissingCheckpointError: there is no such file.
        UnreadableCheckpointError: the system does not let it be opened.
    """
    if stands_for_folder(path):
        folder, kinds, evidence = audit_folder(path)
        return _audited(folder, kinds, evidence) if kinds else _no_folder(folder)
    try:
        with OpenFile(path) as file:
            return audit_open(file)
    except NotACheckpointError:
        return _nothing(Path(path), "is not a file but a pipe or device")


def audit_open(file: OpenFile) -> "Audit":
    """Do what `audit` does with a file that is open: what is judged is what can then be loaded."""
    evidence = Evidence()
    kinds = inspect(Window(file), "", evidence) if file.size else []
    if kinds:
        return _audited(file.path, kinds, evidence)
    reason = "is nothing that torch, pickle or safetensors would load" if file.size else "is empty"
    neighbour = find_neighbour(file) if file.size else None
    if neighbour:
        reason = f"is {neighbour.kind}, which {neighbour.reader} reads; torch loads nothing of it"
    return _nothing(file.path, reason)


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
            "judged_for": f"torch {JUDGED_FOR}",
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


def _no_folder(path: Path) -> Audit:
    foreign = foreign_folder(OpenFolder(path).names)
    if foreign is None:
        return _nothing(path, "is a folder, and not one that is known to be one checkpoint")
    return _nothing(path, "is {}, which {} reads".format(*foreign))


def _nothing(path: Path, reason: str) -> Audit:
    evidence = Evidence(verdict=Verdict.NOT_A_CHECKPOINT)
    evidence.add(Verdict.NOT_A_CHECKPOINT, "", reason)
    return _audited(path, [], evidence)


def _audited(path: Path, kinds: list[str], evidence: Evidence) -> Audit:
    return Audit(
        path=path,
        verdict=evidence.verdict,
        format=" and ".join(kinds) or "unknown",
        findings=tuple(sorted(evidence.findings, key=lambda f: -f.verdict.rank)),
        imports=frozenset(evidence.imports),
        calls=tuple(evidence.calls),
    )

"""``ckpt doctor``: what is wrong with a checkpoint, why it matters, and what to do about it."""

import argparse
import os
from collections import Counter
from collections.abc import Callable, Iterator

from course_utils.ckpt.complaints import Complaint, note, warning
from course_utils.ckpt.doctor_checks import CONTENT_CHECKS
from course_utils.ckpt.not_finite import not_finite
from course_utils.ckpt.parts import find_parts, role_of
from course_utils.ckpt.progress import Progress
from course_utils.ckpt.report import FINE, PROBLEM, Report, counted
from course_utils.files.contents import open_contents, verify_contents
from course_utils.files.open_file import OpenFile
from course_utils.formats.contents import CHECKPOINTS, OTHER_ZIP, PICKLE, Contents
from course_utils.formats.judge import Verdict
from course_utils.formats.open import require_tensors
from course_utils.formats.verify import Severity
from course_utils.safety.audit import audit, audit_open
from course_utils.safety.refusals import is_convertible
from course_utils.tables import Table

Count = Callable[[int], None]


def examine(path: str | os.PathLike[str], progress: Count = lambda _: None) -> list[Complaint]:
    """Look for what commonly goes wrong with checkpoints; reads every tensor, block by block.

    Args:
        path: a checkpoint or safetensors file; of programs only the checksums are compared, and
            what loading would run is looked at.
        progress: is told the bytes that were read since it was last called.

    Returns:
        What was found, the worst first.

    Raises:
        CheckpointError: the file is missing, is something else, or is damaged so that its
            directory cannot be read.
    """
    return _examine(open_contents(path), progress)


def report(options: argparse.Namespace) -> Report:
    """Examine ``options.file``, for the command line."""
    contents = open_contents(options.file)
    with Progress(options.file, 2 * contents.source.size) as progress:  # verified, then scanned
        complaints = _examine(contents, progress)
    role = role_of(contents, find_parts(contents)) if contents.is_described else contents.kind
    bad = any(complaint.severity is not Severity.NOTE for complaint in complaints)
    severities = Counter(complaint.severity.value for complaint in complaints)
    counts = [counted(count, severity) for severity, count in severities.items()]
    data = {"role": role, "findings": [complaint.as_dict() for complaint in complaints]}
    return Report(
        status=PROBLEM if bad else FINE,
        word="problems found" if bad else "no problem found",
        headline=", ".join([f"{role}", *([] if bad else ["no problem found"]), *counts]),
        data=data,
        table=complaints_table(complaints) if complaints else None,
    )


def complaints_table(complaints: list[Complaint]) -> Table:
    """Return complaints as a table."""
    rows = [(c.severity.value, c.topic, c.what, c.remedy) for c in complaints]
    return Table(rows, ["severity", "topic", "found", "remedy"])


def _examine(contents: Contents, progress: Count) -> list[Complaint]:
    if contents.kind in (OTHER_ZIP, PICKLE):
        require_tensors(contents)  # raises, and says what it is
    found = [*_damage(contents, progress), *_unsafe(contents)]
    if contents.is_described:
        parts = find_parts(contents)
        for check in CONTENT_CHECKS:
            found += check(contents, parts)
        if not any(complaint.topic == "damage" for complaint in found):
            found += _not_finite(contents, progress)
    else:
        what = f"of this {contents.kind} only the bytes and the code were looked at"
        found.append(note("format", what, "nothing to do"))
    order = list(Severity)
    return sorted(found, key=lambda complaint: order.index(complaint.severity))


def _damage(contents: Contents, progress: Count) -> Iterator[Complaint]:
    for severity, record, problem in verify_contents(contents, progress).findings:
        if severity is Severity.NOTE:
            yield note("checksums", problem, "compare its SHA-256 with a published one")
        elif severity is Severity.WARNING:
            topic = "record" if record else "folder"
            said = f"record {record}: {problem}" if record else problem
            yield Complaint(severity, topic, said, "remove what is left over, or save again")
        else:
            where = f"record {record}" if record else "the directory"
            yield Complaint(severity, "damage", f"{where}: {problem}", "use an earlier checkpoint")


def _unsafe(contents: Contents) -> Iterator[Complaint]:
    found = (
        audit_open(contents.source)
        if isinstance(contents.source, OpenFile)
        else audit(contents.path)
    )
    if found.verdict is Verdict.PLAIN_DATA:
        return
    reasons = "; ".join(finding.reason for finding in found.findings[:3])
    needs_globals = found.verdict is Verdict.NEEDS_GLOBALS
    severity = Severity.WARNING if needs_globals else Severity.ERROR
    remedy = "load it only if you trust where it comes from"
    if needs_globals and contents.kind in CHECKPOINTS:
        remedy = "if you know these names, load it inside torch.serialization.safe_globals"
    if found.verdict is Verdict.DAMAGED:
        remedy = "use an earlier checkpoint"
    elif contents.is_described and is_convertible(contents):
        remedy += "; `ckpt convert` takes its tensors out without running it"
    yield Complaint(severity, "safety", f"{found.verdict.value}: {reasons}", remedy)


def _not_finite(contents: Contents, progress: Count) -> Iterator[Complaint]:
    seen = set()
    for info in contents.tensors.values():
        place = (info.record, info.storage_offset, info.shape, info.stride, info.dtype)
        if place in seen:
            continue
        seen.add(place)
        found = not_finite(contents, info, progress)
        if found is None or not (found.nan or found.infinite):
            continue
        if found.nan:
            what = f"{info.name} holds {found.nan:,} NaN and {found.infinite:,} infinite values"
            yield warning("not finite", what, "go back to a checkpoint from before they came")
        else:
            what = f"{info.name} holds {found.infinite:,} infinite values"
            remedy = "fine in a mask or a bound; else go back to a checkpoint from before they came"
            yield note("not finite", what, remedy)

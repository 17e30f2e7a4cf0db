"""``ckpt verify``: is a file what was written?"""

import argparse

from course_utils.ckpt.progress import Progress
from course_utils.ckpt.report import FINE, PROBLEM, Report, counted
from course_utils.files.contents import open_contents, verify_contents
from course_utils.formats.contents import OTHER_ZIP, PICKLE, Contents
from course_utils.formats.open import require_tensors
from course_utils.formats.verify import Finding, Severity, Verdict, Verification
from course_utils.tables import Table


def report(options: argparse.Namespace) -> Report:
    """Verify ``options.file``."""
    contents = open_contents(options.file)
    if contents.kind in (OTHER_ZIP, PICKLE):
        require_tensors(contents)  # raises, and says what it is
    with Progress(options.file, contents.source.size) as progress:
        found = verify_contents(contents, progress)
    rows = [(f, _tensors_in(contents, f)) for f in found.findings]
    problem = found.verdict is Verdict.DAMAGED
    problem |= any(finding.severity is Severity.WARNING for finding in found.findings)
    problem |= options.strict and found.verdict is Verdict.UNVERIFIABLE
    data = {
        "kind": contents.kind,
        "records_checked": found.checked,
        "findings": [
            {
                "severity": finding.severity.value,
                "record": finding.record,
                "tensors": tensors,
                "problem": finding.problem,
            }
            for finding, tensors in rows
        ],
    }
    return Report(
        PROBLEM if problem else FINE, found.verdict.value, _headline(found), data,
        _table(rows) if found.damage else None,
        [] if found.damage else [finding.problem for finding in found.findings],
    )  # fmt: skip


def _headline(found: Verification) -> str:
    if found.damage:
        return f"damaged in {counted(len(found.damage), 'place')}"
    if found.verdict is Verdict.SOUND:
        return f"sound, {found.checked:,} records agree with their checksums"
    return found.verdict.value


def _tensors_in(contents: Contents, finding: Finding) -> list[str]:
    if finding.record is None:
        return []
    return [
        name
        for file in contents.files or (contents,)
        for name, info in file.tensors.items()
        if finding.record == (f"{file.path.name}: {info.record}" if contents.files else info.record)
    ]


def _table(rows: list[tuple[Finding, list[str]]]) -> Table:
    cells = [(f.record or "directory", ", ".join(tensors), f.problem) for f, tensors in rows]
    return Table(cells, ["record", "tensors", "problem"])

"""``ckpt audit``: what would loading the file import and call?"""

import argparse

from course_utils.ckpt.report import FINE, IMPOSSIBLE, PROBLEM, Report
from course_utils.formats.judge import Verdict
from course_utils.safety.audit import audit

_STATUS = {Verdict.PLAIN_DATA: FINE, Verdict.NOT_A_CHECKPOINT: IMPOSSIBLE}


def report(options: argparse.Namespace) -> Report:
    """Audit ``options.file``."""
    found = audit(options.file)
    data = found.as_dict()
    del data["file"], data["verdict"]
    return Report(
        _STATUS.get(found.verdict, PROBLEM), found.verdict.value,
        f"{found.verdict.value} ({found.format})", data, found.table if found.findings else None,
    )  # fmt: skip

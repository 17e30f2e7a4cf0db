"""``ckpt slim``: write a copy without bytes that no tensor shows."""

import argparse

from course_utils.ckpt.report import FINE, Report
from course_utils.ckpt.rewrite import slim


def report(options: argparse.Namespace) -> Report:
    """Write a slim copy of ``options.file`` to ``options.out``."""
    before, after = slim(options.file, options.out, overwrite=options.force)
    headline = f"written to {options.out}: {after:,} bytes instead of {before:,}"
    return Report(FINE, "written", headline, {"out": options.out, "before": before, "after": after})

"""``ckpt strip-prefix``: write a copy without a prefix in its keys."""

import argparse

from course_utils.ckpt.report import FINE, Report
from course_utils.ckpt.rewrite import strip_prefix
from course_utils.tables import Table


def report(options: argparse.Namespace) -> Report:
    """Write a copy of ``options.file`` to ``options.out``."""
    renamed = strip_prefix(options.file, options.out, options.prefix, overwrite=options.force)
    headline = f"written to {options.out}: {len(renamed):,} keys renamed"
    data = {"out": options.out, "renamed": renamed}
    return Report(FINE, "written", headline, data, Table(renamed.items(), ["was", "is"]))

"""``ckpt convert``: write a checkpoint's tensors to a safetensors file."""

import argparse
from dataclasses import asdict

from course_utils.ckpt.report import FINE, Report
from course_utils.safety.convert import convert


def report(options: argparse.Namespace) -> Report:
    """Convert ``options.file`` to ``options.out``."""
    done = convert(options.file, options.out, overwrite=options.force)
    headline, *lines = str(done).splitlines()
    data = {**asdict(done), "path": str(done.path)}
    return Report(FINE, "converted", headline, data, notes=lines)

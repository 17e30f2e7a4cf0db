"""``ckpt convert``: write a file's tensors to a safetensors file or a checkpoint."""

import argparse
from dataclasses import asdict

from course_utils.ckpt.report import FINE, IMPOSSIBLE, Report, refusal
from course_utils.safety.convert import convert


def report(options: argparse.Namespace) -> Report:
    """Convert ``options.file`` to ``options.out``."""
    pairs = [pair.partition("=") for pair in options.rename]
    try:
        done = convert(
            options.file, options.out, key=options.key, only=options.only,
            exclude=options.exclude, rename=[(old, new) for old, _, new in pairs],
            dtype=options.dtype, overwrite=options.force,
        )  # fmt: skip
    except ValueError as error:
        return refusal(error, IMPOSSIBLE)
    headline, *lines = str(done).splitlines()
    data = {**asdict(done), "path": str(done.path)}
    return Report(FINE, "converted", headline, data, notes=lines)

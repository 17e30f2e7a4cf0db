"""Time functions fairly on a machine that is never quiet: in turn, and by medians."""

import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from course_utils.tables import Table

ROUNDS = 7


def interleaved(
    functions: Mapping[str, Callable[[], object]],
    *,
    rounds: int = ROUNDS,
    between: Callable[[], object] = lambda: None,
) -> dict[str, float]:
    """Return each function's median time in seconds; one untimed round goes first.

    Args:
        functions: by name.
        rounds: how often each is timed; in each round all run, one after the other.
        between: called, untimed, before each call.
    """
    times: dict[str, list[float]] = {name: [] for name in functions}
    for turn in range(rounds + 1):
        for name, function in functions.items():
            between()
            start = time.perf_counter()
            result = function()
            elapsed = time.perf_counter() - start
            del result  # freed outside of the timing
            if turn:
                times[name].append(elapsed)
    return {name: statistics.median(values) for name, values in times.items()}


def ratios(title: str, times: Mapping[str, float], base: str, *more: str) -> None:
    """Print each time in seconds, and as a ratio to those of one or more bases."""
    bases = [base, *more]
    rows = [
        [name, f"{seconds:.4f}", *(f"{seconds / times[b]:.2f}" for b in bases)]
        for name, seconds in times.items()
    ]
    print(f"\n{title}\n{Table(rows, ['', 'seconds', *(f'/ {b}' for b in bases)])}", flush=True)


def verdict(what: str, value: float, target: float, unit: str = "") -> None:
    """Print a measured value beside its target."""
    word = "met" if value <= target else "MISSED"
    print(f"  {word:6} {what}: {value:.2f}{unit}, target at most {target:g}{unit}", flush=True)


@contextmanager
def folder() -> Iterator[Path]:
    """A folder on the disk this project is on; ``/tmp`` may be in memory."""
    with tempfile.TemporaryDirectory(dir=".", prefix=".bench-") as name:
        yield Path(name)


def settle(path: Path) -> None:
    """Empty a folder and wait until the disk is done with it."""
    for old in path.iterdir():
        if old.is_dir():
            settle(old)
            old.rmdir()
        else:
            old.unlink()
    os.sync()

"""Measure what a load costs: bytes read, and peak memory in a process of its own.

``python -m course_utils.lessons.measure module:function arguments…`` prints one line of JSON.
"""

import gc
import importlib
import json
import resource
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

PROC = Path("/proc/self")


@dataclass
class Meter:
    """Bytes this process asked the system for, cached or not; None where no counter exists."""

    bytes: int | None = None


@contextmanager
def reading() -> Iterator[Meter]:
    """Count the bytes read by the block, on Linux. Memory-mapped pages are not counted.

    Source:
        ``rchar`` in proc_pid_io(5).
    """
    meter = Meter()
    before = _bytes_read()
    yield meter
    if before is not None:
        meter.bytes = (_bytes_read() or 0) - before


def peak_memory(function: str, *arguments: str) -> dict[str, int]:
    """Run a generator function in a fresh process and measure its peaks of resident memory.

    A fresh process, because memory that was freed before may be used again unseen, and because
    the highest mark that ``getrusage`` reports is inherited from a large parent.

    Args:
        function: ``module:name`` of a generator function; each string it yields names the phase
            that has just ended.
        arguments: passed to it.

    Returns:
        For each phase, the highest resident memory from the start to its end, in bytes above what
        the process used before.

    Raises:
        RuntimeError: the function failed; with its error output.
    """
    command = [sys.executable, "-m", "course_utils.lessons.measure", function, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{function} failed:\n{done.stderr}")
    return json.loads(done.stdout.splitlines()[-1])


def _measure(function: str, arguments: list[str]) -> dict[str, int]:
    module, name = function.split(":")
    phases = getattr(importlib.import_module(module), name)(*arguments)
    gc.collect()
    _forget_peak()
    base = _peak()
    return {phase: _peak() - base for phase in phases}


def _forget_peak() -> None:
    """Lower the highest mark to what is used now; where this is not allowed, it stays."""
    with suppress(OSError):
        (PROC / "clear_refs").write_text("5")  # proc_pid_clear_refs(5)


def _peak() -> int:
    """The highest resident memory of this process so far, in bytes."""
    status = PROC / "status"
    if not status.exists():  # macOS, where the unit is bytes
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    (line,) = [line for line in status.read_text().splitlines() if line.startswith("VmHWM")]
    return int(line.split()[1]) * 1024


def _bytes_read() -> int | None:
    counters = PROC / "io"
    return int(counters.read_text().split()[1]) if counters.exists() else None


if __name__ == "__main__":
    print(json.dumps(_measure(sys.argv[1], sys.argv[2:])))

"""Keeps an eye on everything a submission has started, through /proc."""

import contextlib
import os
import resource
import signal
from pathlib import Path

PAGE = resource.getpagesize()


def descendants(ancestor: int) -> list[int]:
    """Return the process ids of all descendants that still run."""
    children: dict[int, list[int]] = {}
    for pid in _processes():
        with contextlib.suppress(OSError, ValueError, IndexError):
            # The name, in parentheses, may hold anything, so read what follows the last one.
            fields = (
                Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
            )
            if fields[0] not in "ZX":
                children.setdefault(int(fields[1]), []).append(pid)
    found, new = [], [ancestor]
    while new:
        new = [child for parent in new for child in children.get(parent, [])]
        found += new
    return found


def private_bytes(pid: int) -> int:
    """Return the memory of a process that is not backed by files; 0 if it is gone."""
    try:
        _, resident, shared, *_ = Path(f"/proc/{pid}/statm").read_text().split()
    except (OSError, ValueError):
        return 0
    return (int(resident) - int(shared)) * PAGE


def kill_descendants(ancestor: int) -> None:
    """Kill until none is left: some may be starting others."""
    while pids := descendants(ancestor):
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        _reap()


def _reap() -> None:
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


def _processes() -> list[int]:
    return [int(name) for name in os.listdir("/proc") if name.isdigit()]

"""How much memory a save or a load takes beyond the state, at its peak, in a fresh process."""

import re
import subprocess
import sys
from pathlib import Path

from benchmarks.states import STATES, nbytes
from benchmarks.timing import folder, verdict
from course_utils.checkpoint import load_checkpoint, save_checkpoint

LIMIT = 64.0  # MB


def main() -> None:
    print("\nPeak memory beyond the state, 300 MB")
    with folder() as path:
        for what in ("save", "load"):
            command = [sys.executable, "-m", "benchmarks.memory", what, str(path / "state.pt")]
            done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
            verdict(what, float(done.stdout), LIMIT, " MB")


def extra(what: str, path: Path) -> float:
    """Return the megabytes beyond the state."""
    if what == "save":
        state = STATES["300 MB"]()
        before = peak_from_now()
        save_checkpoint(path, state)
        return peak() - before
    before = peak_from_now()  # a process that never held the state: freed memory may linger
    state = load_checkpoint(path)
    return peak() - before - nbytes(state) / 1e6


def peak_from_now() -> float:
    """Forget the process's peak; return what it holds now, in megabytes. Linux only."""
    Path("/proc/self/clear_refs").write_text("5")
    return peak()


def peak() -> float:
    status = Path("/proc/self/status").read_text()
    (kilobytes,) = re.findall(r"VmHWM:\s+(\d+) kB", status)
    return int(kilobytes) * 1024 / 1e6


if __name__ == "__main__":
    if len(sys.argv) == 3:
        print(extra(sys.argv[1], Path(sys.argv[2])))
    else:
        main()

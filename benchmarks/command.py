"""What the command costs as a whole process: processor time, memory, and verifying 2 GB."""

import json
import os
import shutil
import statistics
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import torch

from benchmarks.timing import folder, verdict
from course_utils.checkpoint import save_checkpoint
from course_utils.tables import Table

CKPT = [sys.executable, "-m", "course_utils"]
TORCH = [sys.executable, "-c", "import torch"]
ROUNDS = 9
# Starts a process from a small one: the peak that the system reports for a child is at least what
# its parent had in memory when it began.
METER = """
import json, os, resource, sys, time
start = time.perf_counter()
process = os.posix_spawn(sys.argv[1], sys.argv[1:], os.environ,
    file_actions=[(os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0)])
_, status, used = os.wait4(process, 0)
unit = 1 if sys.platform == "darwin" else 1024
print(json.dumps([used.ru_utime + used.ru_stime, used.ru_maxrss * unit / 1e6,
    time.perf_counter() - start, os.waitstatus_to_exitcode(status)]))
"""
# Reads a file as fast as the system lets it, in as many threads as `ckpt verify` uses.
RAW_READ = """
import os, sys
from threading import Thread
file, step = os.open(sys.argv[1], os.O_RDONLY), 2 << 20
threads = os.cpu_count()
def read(start):
    buffer = bytearray(step)
    for position in range(start, os.fstat(file).st_size, step * threads):
        os.preadv(file, [buffer], position)
readers = [Thread(target=read, args=(start,)) for start in range(0, step * threads, step)]
for reader in readers:
    reader.start()
"""


class Cost(NamedTuple):
    """Of a process: processor seconds, peak memory in MB, seconds from start to end."""

    processor: float
    memory: float
    wall: float


def main() -> None:
    with folder() as path:
        small, many, large = path / "small.pt", path / "many.pt", path / "large.pt"
        save_checkpoint(small, {"weight": torch.ones(10, 10), "epoch": 3})
        save_checkpoint(many, {f"layers.{n}.weight": torch.ones(2, 2) for n in range(20_000)})
        save_checkpoint(large, {f"{n}": torch.ones(50_000_000) for n in range(10)})
        _starting(small)
        _listing(many)
        _verifying(large)


def _starting(small: Path) -> None:
    commands = {
        "ckpt --help": [*CKPT, "--help"],
        "ckpt inspect, small file": [*CKPT, "inspect", str(small)],
        "import torch": TORCH,
    }
    peer = shutil.which("picklescan")
    if peer:
        commands["picklescan --help"] = [peer, "--help"]
    costs = measured(commands)
    shown("Starting the command", costs)
    for name in list(commands)[:2]:
        verdict(
            f"{name} / import torch", costs[name].processor / costs["import torch"].processor, 0.1
        )
        verdict(f"{name}, peak memory", costs[name].memory, 50, " MB")
        if peer:
            ratio = costs[name].processor / costs["picklescan --help"].processor
            verdict(f"{name} / picklescan --help", ratio, 3)
    if not peer:
        print("  picklescan is not installed, and was not compared with", flush=True)


def _listing(many: Path) -> None:
    reading = (
        "from course_utils.files.contents import open_contents; import sys, gc; gc.disable(); "
        "open_contents(sys.argv[1])"
    )
    costs = measured({
        "ckpt inspect": [*CKPT, "inspect", str(many)],
        "reading it alone": [sys.executable, "-c", reading, str(many)],
    })  # fmt: skip
    shown("Inspect a file of 20,000 tensors", costs)
    ratio = costs["ckpt inspect"].processor / costs["reading it alone"].processor
    verdict("ckpt inspect / reading the directory and the pickle alone", ratio, 1.25)


def _verifying(large: Path) -> None:
    costs = measured({
        "ckpt verify": [*CKPT, "verify", str(large)],
        "raw read": [sys.executable, "-c", RAW_READ, str(large)],
    })  # fmt: skip
    shown("Verify 2 GB, in the page cache", costs)
    verdict("ckpt verify / raw read", costs["ckpt verify"].wall / costs["raw read"].wall, 1.3)


def measured(commands: Mapping[str, Sequence[str]]) -> dict[str, Cost]:
    """Run each command in turn; return the medians of its costs, by name."""
    found: dict[str, list[Cost]] = {name: [] for name in commands}
    with folder() as bytecode:  # which pip writes when it installs, here where it may be forbidden
        for turn in range(ROUNDS + 1):
            for name, command in commands.items():
                cost = _cost_of(name, command, bytecode)
                if turn:  # the first round fills the caches
                    found[name].append(cost)
    return {name: Cost(*map(statistics.median, zip(*all_of, strict=True)))
            for name, all_of in found.items()}  # fmt: skip


def _cost_of(name: str, command: Sequence[str], bytecode: Path) -> Cost:
    environment = {**os.environ, "PYTHONPYCACHEPREFIX": str(bytecode.absolute())}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    meter = [sys.executable, "-S", "-c", METER, *command]
    done = subprocess.run(meter, capture_output=True, check=True, env=environment)
    *cost, status = json.loads(done.stdout)
    if status:
        raise RuntimeError(f"{name}: exit status {status}: {done.stderr.decode()}")
    return Cost(*cost)


def shown(title: str, costs: Mapping[str, Cost]) -> None:
    """Print the costs."""
    rows = [(name, f"{c.processor:.3f}", f"{c.memory:.0f}", f"{c.wall:.3f}")
            for name, c in costs.items()]  # fmt: skip
    headers = ["", "processor seconds", "peak MB", "seconds"]
    print(f"\n{title}\n{Table(rows, headers)}", flush=True)


if __name__ == "__main__":
    main()

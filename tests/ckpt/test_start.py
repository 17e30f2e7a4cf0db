"""What a command imports before it has read a byte: half of its time, for a small file."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch

SLOW = {
    "concurrent.futures": "5 ms, of them 4 for logging",
    "dataclasses": "7 ms, as it brings inspect",
    "inspect": "6 ms",
    "logging": "5 ms",
    "shutil": "2 ms, as it brings every kind of archive",
    "numpy": "100 ms",
    "rich": "20 ms",
    "torch": "1,500 ms",
}
PATHS = [Path(__file__).parents[2], *(path for path in sys.path if path.endswith("-packages"))]
CODE = f"""
import sys
sys.path += {[str(path) for path in PATHS]!r}
from course_utils.ckpt.main import main
try:
    status = main(sys.argv[1:])
except SystemExit as stop:
    status = stop.code
print("exit", status, *sorted(sys.modules.keys() & {set(SLOW)!r}))
"""


@pytest.mark.parametrize("command", ["--help", "inspect", "verify"])
def test_nothing_slow_is_imported(command, tmp_path):
    torch.save({"w": torch.ones(1 << 20)}, tmp_path / "a.pt")  # large enough for several threads
    files = [tmp_path / "a.pt"] if command != "--help" else []
    bare = [sys.executable, "-S", "-c", CODE, command, *files]  # -S: no import of the environment's
    done = subprocess.run(bare, capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.splitlines()[-1] == "exit 0"

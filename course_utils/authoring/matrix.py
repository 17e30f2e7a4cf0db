"""Run the unit tests on every PyTorch and Python that can be had, and print a table.

    python -m course_utils.authoring.matrix [--folder FOLDER] [--torch 2.13 …] [TEST …]

Each row has an environment of its own, made with plain pip, and is kept in FOLDER for the next
time. Where pip refuses a version, or there is no such Python, the row says so. Tests of what must
work everywhere (save, load, verify, resume, audit) may not be skipped in any row.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from course_utils.tables import Table

TORCH = ("2.6.0", "2.10.0", "2.13.0", "2.14.1", "2.15.0")
PYTHON = ("3.11", "3.12", "3.13")
TESTS = (
    *("tests/checkpoint", "tests/resume", "tests/distributed", "tests/safety", "tests/formats"),
    *("tests/anatomy", "tests/partial", "tests/devices"),
)
NEEDED = (
    *("numpy", "zlib-ng", "safetensors", "rich", "tqdm", "scikit-learn", "matplotlib"),
    *("pytest", "pytest-xdist", "hypothesis"),
)
COLUMNS = ["Python", "torch", "passed", "failed", "skipped", "remark"]
_COUNT = re.compile(r"(\d+) (passed|failed|error|errors|skipped)")


@dataclass(frozen=True)
class Row:
    """What one environment gave."""

    python: str
    torch: str
    passed: int = 0
    failed: int = 0
    skipped: int = 0
    remark: str = ""

    def cells(self) -> tuple[object, ...]:
        """Return the row of the table; no numbers where no test ran."""
        if not self.passed + self.failed:
            return self.python, self.torch, "–", "–", "–", self.remark
        return self.python, self.torch, self.passed, self.failed, self.skipped, self.remark


def run(python: str, torch: str, folder: Path, tests: list[str]) -> Row:
    """Make an environment, or take the one that is there, and run the tests in it.

    Args:
        python: a version, such as ``"3.12"``.
        torch: a version, such as ``"2.13.0"``.
        folder: where environments are kept.
        tests: files and folders of tests.
    """
    interpreter = shutil.which(f"python{python}")
    if interpreter is None:
        return Row(python, torch, remark=f"there is no python{python} here")
    place = folder / f"python-{python}-torch-{torch}"
    refusal = install(interpreter, torch, place)
    if refusal:
        return Row(python, torch, remark=refusal)
    command = [str(place / "bin" / "python"), "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    environment = os.environ | {"PYTHONPATH": os.getcwd(), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [*command, "--show-capture=no", *tests], env=environment, capture_output=True, text=True
    )
    (place / "tests.log").write_text(done.stdout + done.stderr)
    return counted(python, torch, done.stdout, done.returncode)


def install(interpreter: str, torch: str, place: Path) -> str:
    """Make an environment with a PyTorch; return why that did not work, if it did not.

    pip's own settings count; set ``PIP_CONFIG_FILE`` to have others.
    """
    if (place / "ready").exists():
        return ""
    shutil.rmtree(place, ignore_errors=True)
    inside = str(place / "bin" / "python")
    pip = [inside, "-m", "pip", "install", "--quiet", f"torch=={torch}", *NEEDED]
    for command in ([interpreter, "-m", "venv", str(place)], pip):
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            shutil.rmtree(place, ignore_errors=True)
            lines = [line for line in done.stderr.splitlines() if line.startswith("ERROR")]
            return f"pip refuses: {(lines or ['no reason given'])[-1].removeprefix('ERROR: ')}"
    (place / "ready").touch()
    return ""


def counted(python: str, torch: str, output: str, status: int) -> Row:
    """Read pytest's last line.

    Args:
        python: for the row.
        torch: for the row.
        output: what pytest printed.
        status: its exit status; 0 and 1 mean that it ran all tests.
    """
    last = output.splitlines()[-1] if output else ""
    counts = {kind.removesuffix("s"): int(number) for number, kind in _COUNT.findall(last)}
    failed = counts.get("failed", 0) + counts.get("error", 0)
    remark = "" if status in (0, 1) else f"pytest did not come to its end: status {status}"
    return Row(python, torch, counts.get("passed", 0), failed, counts.get("skipped", 0), remark)


def table(rows: list[Row]) -> Table:
    """Return the rows as a table."""
    return Table([row.cells() for row in rows], COLUMNS)


def main() -> int:
    """Run as the command line says; fail if a test failed, or if nothing could be run."""
    parser = argparse.ArgumentParser(
        prog="python -m course_utils.authoring.matrix", description=__doc__
    )
    parser.add_argument("--folder", type=Path, default=Path(".matrix"), help="for environments")
    parser.add_argument("--torch", nargs="*", default=TORCH, metavar="VERSION")
    parser.add_argument("--python", nargs="*", default=PYTHON, metavar="VERSION")
    parser.add_argument("tests", nargs="*", default=list(TESTS))
    options = parser.parse_args()
    # Every PyTorch on one Python, and every Python on one PyTorch.
    pairs = [(options.python[0], torch) for torch in options.torch]
    newest = options.torch[-1]
    pairs += [(python, newest) for python in options.python[1:]]
    rows = []
    for python, torch in pairs:
        rows.append(run(python, torch, options.folder.resolve(), options.tests))
        print(*rows[-1].cells(), file=sys.stderr)
    print(table(rows))
    ran = [row for row in rows if row.passed]
    return int(not ran or any(row.failed or "pytest" in row.remark for row in rows))


if __name__ == "__main__":
    sys.exit(main())

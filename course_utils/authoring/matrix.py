"""Run the unit tests on every PyTorch and Python that can be had, and print a table.

    python -m course_utils.authoring.matrix [--row 3.12:2.14.1 …] [--folder FOLDER] [TEST …]

Each row is printed when it is done, and kept in FOLDER: after an interruption, the next call takes
the rows that are done from there and runs the others, as long as code and tests are the same. A
row has an environment of its own, made with plain pip and removed after the row, for a PyTorch
can take 6 GB; with ``--keep`` it stays for the next time. Where pip refuses a version, or there is
no such Python, the row says so. Tests of what must work everywhere (save, load, verify, resume,
audit) may not be skipped in any row.
"""

import argparse
import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

# Every PyTorch on one Python, and every Python on the PyTorch that the course is built on.
ROWS = (
    *(f"3.11:{torch}" for torch in ("2.6.0", "2.13.0", "2.14.1", "2.15.0")),
    *(f"{python}:2.14.1" for python in ("3.12", "3.13", "3.14")),
)
TESTS = (
    *("tests/checkpoint", "tests/resume", "tests/distributed", "tests/safety", "tests/formats"),
    *("tests/anatomy", "tests/partial", "tests/devices"),
)
NEEDED = (
    *("numpy", "zlib-ng", "safetensors", "rich", "tqdm", "scikit-learn", "matplotlib"),
    *("pytest", "pytest-xdist", "hypothesis", "ml_dtypes"),
)
HEAD = ("Python", "torch", "passed", "failed", "skipped", "remark")
MINUTES = 90  # a row's tests, at most
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

    def __str__(self) -> str:
        counts = (self.passed, self.failed, self.skipped)
        ran = self.passed + self.failed > 0
        return line(self.python, self.torch, *(counts if ran else "–––"), self.remark)


def line(*cells: object) -> str:
    """Return a line of the table, in Markdown."""
    widths = (6, 7, 6, 6, 7, 0)
    padded = [str(cell).ljust(width) for cell, width in zip(cells, widths, strict=True)]
    return f"| {' | '.join(padded)} |"


def run(row: str, folder: Path, tests: list[str], *, keep: bool = False) -> Row:
    """Make an environment, or take the one that is there, and run the tests in it.

    Args:
        row: versions of Python and PyTorch, such as ``"3.12:2.13.0"``.
        folder: where environments are made, and each row's output is kept.
        tests: files and folders of tests.
        keep: leave the environment there.
    """
    python, _, torch = row.partition(":")
    found = interpreter(python)
    if found is None:
        return Row(python, torch, remark=f"there is no Python {python} here")
    place = folder / f"python-{python}-torch-{torch}"
    try:
        if refusal := install(found, torch, place):
            return Row(python, torch, remark=refusal)
        output, status = tested(place, tests, MINUTES * 60)
    finally:
        if not keep:
            remove(place)
    place.with_suffix(f"{place.suffix}.log").write_text(output)
    return counted(python, torch, output, status)


def interpreter(version: str) -> str | None:
    """Return a Python of a version that runs: from PATH, or from those that pyenv keeps."""
    name = f"python{version}"
    kept = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    candidates = [shutil.which(name), *map(str, sorted(kept.glob(f"{version}.*/bin/{name}")))]
    for candidate in filter(None, candidates):
        done = subprocess.run([candidate, "-m", "venv", "--help"], capture_output=True)
        if done.returncode == 0:  # pyenv puts a program of that name on PATH in any case
            return candidate
    return None


def install(python: str, torch: str, place: Path) -> str:
    """Make an environment with a PyTorch; return why that did not work, if it did not.

    pip's own settings count; set ``PIP_CONFIG_FILE`` to have others.
    """
    if (place / "ready").exists():
        return ""
    remove(place)
    inside = str(place / "bin" / "python")
    pip = [inside, "-m", "pip", "install", "--quiet", f"torch=={torch}", *NEEDED]
    for command in ([python, "-m", "venv", str(place)], pip):
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            remove(place)
            lines = [line for line in done.stderr.splitlines() if line.startswith("ERROR")]
            return f"pip refuses: {(lines or ['no reason given'])[-1].removeprefix('ERROR: ')}"
    (place / "ready").touch()
    return ""


def tested(place: Path, tests: list[str], seconds: float) -> tuple[str, int | None]:
    """Run tests in an environment; return what pytest printed and its status, None if stopped."""
    command = [str(place / "bin" / "python"), "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    process = subprocess.Popen(
        [*command, "-n", "auto", "--show-capture=no", *tests],
        env=os.environ | {"PYTHONPATH": os.getcwd(), "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True,
    )  # fmt: skip
    try:
        return process.communicate(timeout=seconds)[0], process.returncode
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        return process.communicate()[0], None
    except BaseException:
        os.killpg(process.pid, signal.SIGKILL)
        raise


def counted(python: str, torch: str, output: str, status: int | None) -> Row:
    """Read pytest's last line.

    Args:
        python: for the row.
        torch: for the row.
        output: what pytest printed.
        status: its exit status; 0 and 1 mean that it ran all tests.
    """
    if status is None:
        shares = re.findall(r"\[ *(\d+)%\]", output)
        share = shares[-1] if shares else "0"
        return Row(python, torch, remark=f"stopped after {MINUTES} minutes, {share} % done")
    last = output.splitlines()[-1] if output else ""
    counts = {kind.removesuffix("s"): int(number) for number, kind in _COUNT.findall(last)}
    failed = counts.get("failed", 0) + counts.get("error", 0)
    remark = "" if status in (0, 1) else f"pytest did not come to its end: status {status}"
    return Row(python, torch, counts.get("passed", 0), failed, counts.get("skipped", 0), remark)


def remove(place: Path) -> None:
    """Remove an environment; of one that was put there as a link, the link."""
    if place.is_symlink():
        place.unlink()
    shutil.rmtree(place, ignore_errors=True)


class Kept:
    """Rows that were run with the same code and tests.

    Args:
        path: the file that keeps them.
        tests: files and folders of tests.
    """

    def __init__(self, path: Path, tests: Iterable[str]) -> None:
        self._path, self._of = path, f"{fingerprint()} {' '.join(tests)}"

    def get(self, row: str) -> Row | None:
        """Return a row that was run to its end, if it was."""
        found = self._all().get(f"{self._of} {row}")
        return Row(**found) if found else None

    def put(self, row: str, result: Row) -> None:
        """Keep a row, if pytest came to its end in it."""
        if result.passed and not result.remark:
            kept = self._all() | {f"{self._of} {row}": asdict(result)}
            self._path.write_text(json.dumps(kept, indent=1))

    def _all(self) -> dict[str, dict[str, Any]]:
        return json.loads(self._path.read_text()) if self._path.exists() else {}


def fingerprint() -> str:
    """Return a digest of the package and its tests, as they are in the working folder."""
    digest = hashlib.sha256()
    for path in sorted(p for part in ("course_utils", "tests") for p in Path(part).rglob("*.py")):
        digest.update(f"{path}\0".encode() + path.read_bytes())
    return digest.hexdigest()[:16]


def main() -> int:
    """Run as the command line says; fail if a test failed, or if nothing could be run."""
    parser = argparse.ArgumentParser(
        prog="python -m course_utils.authoring.matrix",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--folder", type=Path, default=Path(".matrix"), help="what is kept")
    parser.add_argument("--row", action="append", metavar="PYTHON:TORCH", help="once a row")
    parser.add_argument("--keep", action="store_true", help="leave environments for the next time")
    parser.add_argument("tests", nargs="*", default=list(TESTS))
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    kept, rows = Kept(options.folder / "rows.json", options.tests), []
    print(line(*HEAD), "|---|---|---|---|---|---|", sep="\n", flush=True)
    for row in options.row or ROWS:
        done = kept.get(row) or run(row, options.folder.resolve(), options.tests, keep=options.keep)
        kept.put(row, done)
        rows.append(done)
        print(done, flush=True)
    ran = [row for row in rows if row.passed]
    return int(not ran or any(row.failed or row.remark.startswith(_BAD) for row in rows))


_BAD = ("pytest", "stopped")


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)

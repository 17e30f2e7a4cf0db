"""The capstone's judge: runs a training script, kills it, starves it, and looks at what it leaves.

The script is a program of its own, ``python SCRIPT FOLDER``. It prints ``step N LOSS`` after each
step, can be started again on the same folder, and ends by writing ``final.safetensors`` and
``model.pt2`` there. How it saves in between is its own affair, in files below the folder.
"""

import os
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file

from course_utils.errors import CheckpointError
from course_utils.lessons.data import digits
from course_utils.portable import load_program
from course_utils.resume import differences
from course_utils.safety import audit

SECONDS = 120
KILL_AFTER = (12, 22)  # steps: in the first epoch, and in the second
FINAL, PROGRAM = "final.safetensors", "model.pt2"


class _Wrong(Exception):
    """What the script does not do; for the learner to read."""


@dataclass(frozen=True)
class Finding:
    """One of the four properties: its name, whether the script has it, and what was seen."""

    name: str
    holds: bool
    seen: str


@dataclass(frozen=True)
class Verdict:
    """What was found out about a script."""

    findings: tuple[Finding, ...]

    def __str__(self) -> str:
        return "\n".join(
            f"{'holds ' if finding.holds else 'BREAKS'}  {finding.name}: {finding.seen}"
            for finding in self.findings
        )

    __repr__ = __str__


def begin(folder: Path) -> Path:
    """Put the fragile script into a folder, unless there is one; return where it is.

    Args:
        folder: of the learner's work; git does not see it.
    """
    script = folder / "train.py"
    folder.mkdir(exist_ok=True)
    (folder / ".gitignore").write_text("*\n", encoding="utf-8")
    if not script.exists():
        shutil.copy(Path(__file__).with_name("fragile.py"), script)
    return script


def examine(script: Path, folder: Path) -> Verdict:
    """Try a script on the four properties: exact, crash-proof, portable, safe.

    Args:
        script: the program.
        folder: for what its runs write; emptied first.
    """
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    straight = folder / "straight"
    try:
        losses = _finish(script, straight)
    except _Wrong as problem:
        return Verdict((Finding("it runs", False, str(problem)),))
    checks: dict[str, Callable[[], str]] = {
        "exact": lambda: _exact(script, folder, losses),
        "crash-proof": lambda: _crash_proof(script, folder),
        "portable": lambda: _portable(straight),
        "safe": lambda: _safe(folder),
    }
    return Verdict(tuple(_find(name, check) for name, check in checks.items()))


def _find(name: str, check: Callable[[], str]) -> Finding:
    try:
        return Finding(name, True, check())
    except _Wrong as problem:
        return Finding(name, False, str(problem))


def _exact(script: Path, folder: Path, straight: dict[int, str]) -> str:
    """Killed after some steps and started again, it must end like the run never stopped."""
    for step in KILL_AFTER:
        run = folder / f"killed after {step}"
        _kill_after(script, run, step)
        losses = _finish(script, run)
        wrong = [n for n, loss in losses.items() if straight.get(n) != loss]
        if wrong:
            raise _Wrong(
                f"killed after step {step} and started again, step {wrong[0]} has loss "
                f"{losses[wrong[0]]}; in the run never stopped {straight.get(wrong[0], 'none')}"
            )
        changed = differences(*(load_file(at / FINAL) for at in (folder / "straight", run)))
        if changed:
            raise _Wrong(f"killed after step {step}: other final weights: {changed[0]}")
    return f"killed after steps {', '.join(map(str, KILL_AFTER))}: the same bits in the end"


def _crash_proof(script: Path, folder: Path) -> str:
    """A save that fails half-way must not cost the checkpoint before it."""
    run = folder / "full disk"
    _kill_after(script, run, 12)
    files = [path for path in run.rglob("*") if path.is_file()]
    if not files:
        raise _Wrong("after 12 steps it has saved nothing")
    largest = max(path.stat().st_size for path in files)
    starved = _start(script, run, largest // 2)
    starved.communicate(timeout=SECONDS)
    if starved.returncode == 0:
        raise _Wrong("its saves failed on a full disk, and it ended as if all were well")
    losses = _finish(script, run)
    if min(losses) <= 5:
        raise _Wrong(f"after a save that failed half-way it went on at step {min(losses)}: "
                     "the older checkpoint is lost")  # fmt: skip
    return f"after a save that failed half-way it went on at step {min(losses)}"


def _portable(run: Path) -> str:
    """The program must run without the class, on any number of images, in eval mode."""
    images, labels = digits(train=False).tensors
    try:
        program = load_program(run / PROGRAM).module()
        with torch.no_grad():
            once, again = program(images), program(images)
            few = program(images[:3])
    except (CheckpointError, AssertionError, RuntimeError) as error:
        raise _Wrong(f"{PROGRAM} on {len(images)} and 3 images: {error}") from None
    if not torch.equal(once, again):
        raise _Wrong(f"{PROGRAM} gives other outputs each time: it was exported in train mode")
    accuracy = (once.argmax(1) == labels).float().mean().item()
    if accuracy < 0.8 or not torch.allclose(few, once[:3], atol=1e-5):
        raise _Wrong(f"{PROGRAM} is right on {accuracy:.0%} of the test images")
    return f"{PROGRAM} takes any number of images and is right on more than 80 %"


def _safe(folder: Path) -> str:
    """What it saved on its way must load with weights_only: plain data."""
    saved = [p for p in folder.rglob("*") if p.suffix in {".pt", ".pth", ".ckpt", ".bin"}]
    for path in sorted(saved):
        found = audit(path)
        if found.verdict.value not in ("plain data", "damaged"):
            names = "; ".join(finding.reason for finding in found.findings[:2])
            raise _Wrong(f"{path.name}: {found.verdict.value}: {names}")
    if not saved:
        raise _Wrong("no .pt file was saved on the way")
    return f"{len(saved)} checkpoints, all plain data"


def _start(script: Path, run: Path, file_size: int | None = None) -> subprocess.Popen[str]:
    def limit() -> None:
        if file_size is not None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (file_size, file_size))

    package = str(Path(__file__).resolve().parents[2])
    paths = os.pathsep.join(filter(None, (package, os.environ.get("PYTHONPATH"))))
    return subprocess.Popen(
        [sys.executable, os.fspath(script), os.fspath(run)], text=True, preexec_fn=limit,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, env={**os.environ, "PYTHONPATH": paths},
    )  # fmt: skip


def _finish(script: Path, run: Path) -> dict[int, str]:
    """Run to the end; return the loss of each step that was printed."""
    process = _start(script, run)
    try:
        printed, said = process.communicate(timeout=SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        raise _Wrong(f"not done after {SECONDS} seconds") from None
    if process.returncode:
        last = (said.strip().splitlines() or ["no message"])[-1]
        raise _Wrong(f"started on {run.name!r}, it ends with an error: {last}")
    missing = [name for name in (FINAL, PROGRAM) if not (run / name).exists()]
    if missing:
        raise _Wrong(f"it did not write {missing[0]}")
    losses = dict(filter(None, map(_loss, printed.splitlines())))
    if not losses:
        raise _Wrong("it printed no line 'step N LOSS'")
    return losses


def _kill_after(script: Path, run: Path, step: int) -> None:
    """Send SIGKILL as soon as a step is printed."""
    process = _start(script, run)
    assert process.stdout is not None
    for line in process.stdout:
        found = _loss(line)
        if found and found[0] >= step:
            break
    process.kill()
    process.communicate()


def _loss(line: str) -> tuple[int, str] | None:
    words = line.split()
    return (int(words[1]), words[2]) if len(words) == 3 and words[0] == "step" else None

"""The capstone's judge: runs a training script, kills it, starves it, and looks at what it leaves.

The script is a program of its own, ``python SCRIPT FOLDER``. It prints ``step N LOSS`` after each
step, can be started again on the same folder, and ends by writing ``final.safetensors`` and
``model.pt2`` there. How it saves in between is its own affair, in files below the folder.
"""

import os
import resource
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Timer

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from course_utils.lessons.data import digits
from course_utils.portable import load_program
from course_utils.resume import differences
from course_utils.safety import audit

SECONDS = 120
# Steps in the first epoch and in the second, where neither an epoch nor a step of the schedule
# begins: what a script forgets there shows.
KILL_AFTER = (7, 27)
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
        _refuse_pretence(losses, straight)
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
        _refuse_gaps(losses)
        wrong = [n for n, loss in losses.items() if straight.get(n) != loss]
        if wrong:
            raise _Wrong(
                f"killed after step {step} and started again, step {wrong[0]} has loss "
                f"{losses[wrong[0]]}; in the run never stopped {straight.get(wrong[0], 'none')}"
            )
        changed = differences(*(_weights(at / FINAL) for at in (folder / "straight", run)))
        if changed:
            raise _Wrong(f"killed after step {step}: other final weights: {changed[0]}")
    return f"killed after steps {', '.join(map(str, KILL_AFTER))}: the same bits in the end"


def _refuse_pretence(losses: dict[int, str], run: Path) -> None:
    """Of a run that was never stopped, look at what it printed and left."""
    _refuse_gaps(losses)
    if min(losses) != 1 or max(losses) <= max(KILL_AFTER):
        raise _Wrong(f"it prints steps {min(losses)} to {max(losses)}, not 1 to the last")
    _weights(run / FINAL)


def _refuse_gaps(losses: dict[int, str]) -> None:
    steps = list(losses)
    if steps != list(range(steps[0], steps[0] + len(steps))):
        raise _Wrong("the steps that it prints do not follow one another")


def _weights(path: Path) -> dict[str, Tensor]:
    try:
        weights = load_file(path)
    except SafetensorError as error:
        raise _Wrong(f"{FINAL} cannot be read: {error}") from None
    if not any(tensor.numel() and tensor.is_floating_point() for tensor in weights.values()):
        raise _Wrong(f"{FINAL} holds no weights")
    return weights


def _crash_proof(script: Path, folder: Path) -> str:
    """A save that fails half-way must not cost the checkpoint before it."""
    run = folder / "full disk"
    _kill_after(script, run, 12)
    files = [path for path in run.rglob("*") if path.is_file()]
    if not files:
        raise _Wrong("after 12 steps it has saved nothing")
    largest = max(path.stat().st_size for path in files)
    with _started(script, run, largest // 2) as starved:
        starved.communicate()
    if starved.returncode == -signal.SIGKILL:
        raise _Wrong(f"on a full disk it was killed, or not done after {SECONDS} seconds")
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
    except Exception as error:  # of whatever kind the program's own code raises
        raise _Wrong(f"{PROGRAM} on {len(images)} and 3 images: {error}") from None
    if not all(isinstance(given, Tensor) for given in (once, again, few)):
        raise _Wrong(f"{PROGRAM} gives {type(once).__name__}, not a tensor of logits")
    if not torch.equal(once, again):
        raise _Wrong(f"{PROGRAM} gives other outputs each time: it was exported in train mode")
    accuracy = (once.argmax(1) == labels).float().mean().item()
    if accuracy < 0.8 or not torch.allclose(few, once[:3], atol=1e-5):
        raise _Wrong(f"{PROGRAM} is right on {accuracy:.0%} of the test images")
    return f"{PROGRAM} takes any number of images and is right on more than 80 %"


def _safe(folder: Path) -> str:
    """What it saved on its way must load with weights_only: plain data."""
    saved = 0
    for path in sorted(p for p in folder.rglob("*") if p.is_file() and not p.is_symlink()):
        if path.name in (FINAL, PROGRAM):
            continue
        found = audit(path)  # whatever its name
        if found.verdict.value in ("would run code", "needs these globals"):
            names = "; ".join(finding.reason for finding in found.findings[:2])
            raise _Wrong(f"{path.name}: {found.verdict.value}: {names}")
        saved += found.verdict.value == "plain data"
    if not saved:
        raise _Wrong("no checkpoint was saved on the way")
    return f"{saved} checkpoints, all plain data"


@contextmanager
def _started(
    script: Path, run: Path, file_size: int | None = None
) -> Iterator[subprocess.Popen[str]]:
    """Start the script; with all that it has started itself it ends here, or when time is up."""

    def limit() -> None:
        if file_size is not None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (file_size, file_size))

    package = str(Path(__file__).resolve().parents[2])
    paths = os.pathsep.join(filter(None, (package, os.environ.get("PYTHONPATH"))))
    process = subprocess.Popen(
        [sys.executable, os.fspath(script), os.fspath(run)], text=True, errors="replace",
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, env={**os.environ, "PYTHONPATH": paths},
        preexec_fn=limit, start_new_session=True,
    )  # fmt: skip

    def kill() -> None:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)

    timer = Timer(SECONDS, kill)
    timer.start()
    try:
        yield process
    finally:
        timer.cancel()
        kill()
        process.communicate()


def _finish(script: Path, run: Path) -> dict[int, str]:
    """Run to the end; return the loss of each step that was printed."""
    with _started(script, run) as process:
        printed, said = process.communicate()
    if process.returncode == -signal.SIGKILL:
        raise _Wrong(f"it was killed, or not done after {SECONDS} seconds")
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
    with _started(script, run) as process:
        assert process.stdout is not None
        for line in process.stdout:
            found = _loss(line)
            if found and found[0] >= step:
                break


def _loss(line: str) -> tuple[int, str] | None:
    words = line.split()
    if len(words) != 3 or words[0] != "step" or not words[1].isdecimal():
        return None
    return int(words[1]), words[2]

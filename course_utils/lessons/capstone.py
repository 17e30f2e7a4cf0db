"""The capstone's judge: runs a training script, kills it, starves it, and looks at what it leaves.

The script is a program of its own, ``python SCRIPT FOLDER``. It prints ``step N LOSS`` after each
step, can be started again on the same folder, and ends by writing ``final.safetensors`` and
``model.pt2`` there. How it saves in between is its own affair, in files below the folder. It is
given the digits with other labels, so that nothing that was computed elsewhere fits them.
"""

import shutil
import tempfile
import textwrap
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from course_utils.errors import CheckpointError
from course_utils.lessons import capstone_program
from course_utils.lessons.capstone_data import Data, write_data
from course_utils.lessons.capstone_program import FEW, IMAGES, LOGITS, PROGRAM
from course_utils.lessons.capstone_run import SECONDS, Runner, Start, Wrong, at_home, entries
from course_utils.lessons.fragile import Net
from course_utils.resume import differences
from course_utils.safety import audit

# Steps in the first epoch and in the second, where neither an epoch nor a step of the schedule
# begins: what a script forgets there shows.
KILL_AFTER = (7, 27)
# At least two saves of the fragile script lie before it.
LATER = 12
FINAL = "final.safetensors"
RIGHT = 0.8  # of the test images; a script that trains is right on more than 0.9
PROPERTIES = ("exact", "crash-proof", "portable", "safe")


@dataclass(frozen=True)
class Finding:
    """One of the four properties: its name, whether the script has it, and what was seen."""

    name: str
    holds: bool
    seen: str


@dataclass(frozen=True)
class Verdict:
    """What was found out about a script: of the four properties, or that it does not run."""

    findings: tuple[Finding, ...]

    def __str__(self) -> str:
        return "\n".join(
            f"{'holds ' if finding.holds else 'BREAKS'}  {finding.name}: {finding.seen}"
            for finding in self.findings
        )

    def __repr__(self) -> str:
        return "\n".join(
            textwrap.fill(line, 100, subsequent_indent=" " * 8) for line in str(self).splitlines()
        )


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


def examine(
    script: Path,
    folder: Path,
    *,
    start: Start = at_home,
    seed: int = 0,
    seconds: float = SECONDS,
) -> Verdict:
    """Try a script on the four properties: exact, crash-proof, portable, safe.

    Args:
        script: the program.
        folder: for what its runs write; emptied first.
        start: how it is started; the grader does so behind walls.
        seed: decides the labels of the digits.
        seconds: the most that one start may take.
    """
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    with tempfile.TemporaryDirectory() as packages:
        data, other = write_data(Path(packages), seed)
        trial = _Trial(Runner(script, start, seconds), folder, data, other)
        try:
            losses = trial.straight()
        except Wrong as problem:
            return Verdict((Finding("it runs", False, str(problem)),))
        checks: tuple[Callable[[], str], ...] = (
            lambda: trial.exact(losses), trial.crash_proof, trial.portable, trial.safe,
        )  # fmt: skip
        return Verdict(tuple(map(_find, PROPERTIES, checks)))


def _find(name: str, check: Callable[[], str]) -> Finding:
    try:
        return Finding(name, True, check())
    except Wrong as problem:
        return Finding(name, False, str(problem))


@dataclass(frozen=True)
class _Trial:
    """One script: its runs go to folders of their own below ``folder``."""

    runner: Runner
    folder: Path
    data: Data
    other: Data

    def straight(self) -> dict[int, str]:
        """Run it once, never stopped; look at what it printed and left; return its losses."""
        run = self.folder / "straight"
        losses = self._finish(run)
        if min(losses) != 1 or max(losses) <= max(KILL_AFTER):
            raise Wrong(f"it prints steps {min(losses)} to {max(losses)}, not 1 to the last")
        images, labels = self.data.test()
        model = Net().eval()
        try:
            model.load_state_dict(_weights(run / FINAL))
        except RuntimeError as error:
            problem = str(error).partition("\n")[2].strip()[:200]
            raise Wrong(f"{FINAL} does not fit the network: {problem}") from None
        _refuse_guesses(FINAL, model(images), labels)
        return losses

    def exact(self, straight: dict[int, str]) -> str:
        """Killed after some steps and started again, it must end like the run never stopped."""
        for step in KILL_AFTER:
            run = self.folder / f"killed after {step}"
            self.runner.kill_after(run, self.data, step)
            losses = self._finish(run)
            wrong = [n for n, loss in losses.items() if straight.get(n) != loss]
            if wrong:
                raise Wrong(
                    f"killed after step {step} and started again, step {wrong[0]} has loss "
                    f"{losses[wrong[0]][:40]}; in the run never stopped "
                    f"{straight.get(wrong[0], 'none')[:40]}"
                )
            changed = differences(*(_weights(at / FINAL) for at in (self.folder / "straight", run)))
            if changed:
                raise Wrong(f"killed after step {step}: other final weights: {changed[0]}")
        self._refuse_pretence(straight)
        return f"killed after steps {', '.join(map(str, KILL_AFTER))}: the same bits in the end"

    def _refuse_pretence(self, straight: dict[int, str]) -> None:
        """Started again on other labels, it must go on from its checkpoint, and train on them."""
        run = self.folder / "other labels"
        self.runner.kill_after(run, self.data, LATER)
        losses = self.runner.kill_after(run, self.other, 1)
        step = min(losses, default=1)
        if step == 1:
            raise Wrong(f"killed after step {LATER} and started again, it goes on at step 1")
        if losses[step] == straight.get(step):
            raise Wrong(
                "started again with other labels it prints the old losses: it does not train on "
                "what course_utils.lessons.data.digits() gives"
            )
        fresh = self.folder / "other labels from the first step"
        if self.runner.kill_after(fresh, self.other, step).get(step) == losses[step]:
            raise Wrong(
                f"killed after step {LATER} and started again, it does not go on from what it "
                "saved: it trains again from the beginning"
            )

    def crash_proof(self) -> str:
        """A save that fails half-way must not cost the checkpoint before it."""
        run = self.folder / "full disk"
        self.runner.kill_after(run, self.data, LATER)
        largest = max((path.stat().st_size for path in _files(run)), default=0)
        if not largest:
            raise Wrong(f"after {LATER} steps it has saved nothing")
        with self.runner.started(run, self.data, largest // 2) as starved:
            list(starved.lines())
            if starved.why:
                raise Wrong(f"on a full disk, {starved.why}")
            if starved.process.returncode == 0:
                raise Wrong("its saves failed on a full disk, and it ended as if all were well")
        first = min(self._finish(run))
        if first <= 5:
            raise Wrong(
                f"after a save that failed half-way it went on at step {first}: "
                "the older checkpoint is lost"
            )
        return f"after a save that failed half-way it went on at step {first}"

    def portable(self) -> str:
        """The program must run without the class, on any number of images, in eval mode."""
        images, labels = self.data.test()
        given = self._ask_program(images)
        once, again, few = (given[name] for name in ("once", "again", "few"))
        if not torch.equal(once, again):
            raise Wrong(f"{PROGRAM} gives other outputs each time: it was exported in train mode")
        _refuse_guesses(PROGRAM, once, labels)
        if few.shape != once[:FEW].shape or not torch.allclose(few, once[:FEW], atol=1e-5):
            raise Wrong(f"{PROGRAM} gives other outputs for {FEW} of the images alone")
        return f"{PROGRAM} takes any number of images and is right on more than {RIGHT:.0%}"

    def _ask_program(self, images: Tensor) -> dict[str, Tensor]:
        """Run the program where neither the script's class nor the labels are."""
        asked = self.folder / "asked"
        asked.mkdir()
        shutil.copy(self.folder / "straight" / PROGRAM, asked)
        save_file({"images": images}, asked / IMAGES)
        reader = Runner(Path(capstone_program.__file__), self.runner.start, self.runner.seconds)
        try:
            reader.finish(asked, self.data)
            return load_file(asked / LOGITS)
        except (Wrong, SafetensorError, OSError) as error:
            why = str(error).removeprefix("started on 'asked', ")
            raise Wrong(f"{PROGRAM} on {len(images)} and {FEW} images: {why}") from None

    def safe(self) -> str:
        """What it saved on its way must load with weights_only: plain data."""
        saved = 0
        for path in _files(self.folder):
            if path.name in (FINAL, PROGRAM) or path.parent.name == "asked":
                continue
            try:
                found = audit(path)  # whatever its name
            except CheckpointError as error:
                raise Wrong(f"{path.name} cannot be read: {error}") from None
            if found.verdict.value in ("would run code", "needs these globals"):
                names = "; ".join(finding.reason for finding in found.findings[:2])
                raise Wrong(f"{path.name}: {found.verdict.value}: {names}")
            saved += found.verdict.value == "plain data"
        if not saved:
            raise Wrong("no checkpoint was saved on the way")
        return f"{saved} checkpoints, all plain data"

    def _finish(self, run: Path) -> dict[int, str]:
        """Run to the end and see that all is there."""
        losses = self.runner.finish(run, self.data)
        missing = [name for name in (FINAL, PROGRAM) if run / name not in _files(run)]
        if missing:
            raise Wrong(f"it did not write {missing[0]}")
        if not losses:
            raise Wrong("it printed no line 'step N LOSS'")
        steps = list(losses)
        if steps != list(range(steps[0], steps[0] + len(steps))):
            raise Wrong("the steps that it prints do not follow one another")
        return losses


def _files(folder: Path) -> list[Path]:
    """Return the ordinary files below a folder, in order; no link is followed."""
    return sorted(Path(e.path) for e in entries(folder) if e.is_file(follow_symlinks=False))


def _weights(path: Path) -> dict[str, Tensor]:
    try:
        weights = load_file(path)
    except SafetensorError as error:
        raise Wrong(f"{FINAL} cannot be read: {error}") from None
    if not any(tensor.numel() and tensor.is_floating_point() for tensor in weights.values()):
        raise Wrong(f"{FINAL} holds no weights")
    return weights


def _refuse_guesses(what: str, logits: Tensor, labels: Tensor) -> None:
    if logits.shape != (len(labels), 10):
        raise Wrong(f"{what} gives logits of shape {tuple(logits.shape)}, not ({len(labels)}, 10)")
    accuracy = (logits.argmax(1) == labels).float().mean().item()
    if not accuracy >= RIGHT:
        raise Wrong(
            f"{what} is right on {accuracy:.0%} of the test images; their labels are exchanged "
            "here, in what course_utils.lessons.data.digits() gives, too"
        )

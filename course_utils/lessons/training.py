"""A small training run on the digits that can be stopped anywhere and continued exactly.

``python -m course_utils.lessons.training FOLDER`` trains, or goes on where
FOLDER's newest checkpoint is.
"""

import argparse
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.optim.lr_scheduler import CosineAnnealingLR
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torch.utils.data import DataLoader, TensorDataset

from course_utils.checkpoint import CheckpointManager
from course_utils.errors import MismatchedCheckpointError
from course_utils.lessons.data import Augmented, digits
from course_utils.lessons.models import DigitsCNN
from course_utils.lessons.steplog import StepLog
from course_utils.resume.rng import seed_everything
from course_utils.resume.sampler import ResumableSampler
from course_utils.resume.train_state import TrainState

SAVE_EVERY = 22  # optimizer steps: not a divisor of an epoch's 45, so most saves are inside one
PAUSED = "paused\n"  # what a process prints that waits to be killed


@dataclass
class Run:
    """A training run: its state, and the data it has nothing to save of."""

    state: TrainState
    data: Augmented
    loader: DataLoader
    epochs: int


def train(run: Run, folder: Path) -> None:
    """Train to the end, from the folder's newest checkpoint if it has one."""
    manager = CheckpointManager(folder)
    if manager.latest() is not None:
        run.state.load_state_dict(manager.restore())
        _check_seed(run, folder)
    log = StepLog(folder, resume_at=run.state.step)
    while run.state.epoch < run.epochs:
        train_one_epoch(run, manager, log)
        accuracy = evaluate(run.state.model, digits(train=False))
        manager.save(run.state.state_dict(), run.state.step, {"accuracy": accuracy})


def train_one_epoch(run: Run, manager: CheckpointManager, log: StepLog) -> None:
    """Train to the end of the epoch, saving every `SAVE_EVERY` steps."""
    for loss, indices in steps(run):
        log.write(run.state.step, loss, indices)
        if run.state.step % SAVE_EVERY == 0:
            manager.save(run.state.state_dict(), run.state.step)


def steps(run: Run) -> Iterator[tuple[Tensor, Tensor]]:
    """Train from wherever in the epoch the run stands to its end, one step per iteration.

    Yields:
        The loss (a scalar), and the indices of the images, after each optimizer step. The run's
        state may be saved then.
    """
    state = run.state
    state.model.train()
    run.data.set_epoch(state.epoch)
    for images, labels, indices in run.loader:
        loss = cross_entropy(state.model(images), labels)
        state.optimizer.zero_grad()
        loss.backward()
        state.optimizer.step()
        state.scheduler.step()
        state.ema.update_parameters(state.model)
        state.step += 1
        state.sampler.advance(len(indices))
        yield loss.detach(), indices
    state.epoch += 1
    state.sampler.next_epoch()


def digits_run(epochs: int = 4, *, seed: int = 0, workers: int = 0) -> Run:
    """Return a new run: a CNN with dropout and BatchNorm, Adam, cosine schedule, EMA, shifts.

    Args:
        epochs: passes over the 1,437 training images, 45 steps each.
        seed: of the weights, the dropout, the shuffling and the shifts.
        workers: processes that load data.
    """
    seed_everything(seed)
    model = DigitsCNN(dropout=0.2, width=8)
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    data = Augmented(digits(), seed=seed)
    sampler = ResumableSampler(len(data), seed=seed)
    # Starting to iterate draws one number, from the global generator unless given another:
    # a resumed run starts once more often, and would draw other dropout masks from there on.
    own = torch.Generator()
    loader = DataLoader(data, batch_size=32, sampler=sampler, num_workers=workers, generator=own)
    state = TrainState(
        model,
        optimizer,
        scheduler=CosineAnnealingLR(optimizer, T_max=epochs * 45),
        ema=AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(0.99), use_buffers=True),
        sampler=sampler,
    )
    return Run(state, data, loader, epochs)


@torch.no_grad()
def evaluate(model: nn.Module, dataset: TensorDataset) -> float:
    """Return the accuracy in [0, 1] on a dataset of images and labels; keeps the model's mode."""
    images, labels = dataset.tensors
    was_training = model.training
    model.eval()
    accuracy = (model(images).argmax(1) == labels).float().mean().item()
    model.train(was_training)
    return accuracy


def train_in_new_process(
    folder: Path, *options: str, kill_at: int | None = None, timeout: float = 300
) -> int:
    """Run this module on a folder in a process of its own; return its exit status.

    Args:
        folder: of the checkpoints and the log.
        options: as on the command line, for example ``"--epochs=4"``.
        kill_at: send SIGKILL inside this step, when the weights have changed and nothing has
            been logged or saved; the status is then -9.
        timeout: seconds after which a run that hangs is killed.

    Raises:
        RuntimeError: it failed, hung, was killed by somebody else or ended before `kill_at`; the
            message holds what it printed.
    """
    command = [sys.executable, "-m", "course_utils.lessons.training", os.fspath(folder), *options]
    if kill_at is not None:
        command.append(f"--pause-at={kill_at}")
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as child:
        lines, status = _watch(child, timeout)
    paused = PAUSED in lines
    if status != (-signal.SIGKILL if paused else 0):
        raise RuntimeError(f"the training ended with status {status}:\n{''.join(lines)}")
    if kill_at is not None and not paused:
        raise RuntimeError(f"step {kill_at} never came:\n{''.join(lines)}")
    return status


def _watch(child: subprocess.Popen[str], timeout: float) -> tuple[list[str], int]:
    """Read what a process prints until it ends; kill it when it pauses or takes too long."""
    assert child.stdout is not None
    lines = []
    clock = threading.Timer(timeout, child.kill)
    clock.start()
    try:
        for line in child.stdout:
            lines.append(line)
            if line == PAUSED:
                break
        else:
            child.wait()
    finally:  # also when this process is interrupted: leave nothing running
        clock.cancel()
        child.kill()
    return lines, child.wait()


def main() -> None:
    """Train as the command line says."""
    parser = argparse.ArgumentParser(
        prog="python -m course_utils.lessons.training", description=__doc__
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=0, help="processes that load data")
    parser.add_argument("--pause-at", type=int, help="stop inside this step and wait for a kill")
    options = parser.parse_args()

    torch.set_num_threads(1)  # the bits of a sum depend on how it is split
    run = digits_run(options.epochs, seed=options.seed, workers=options.workers)
    if options.pause_at is not None:
        _pause_in_step(options.pause_at, run.state)
    train(run, options.folder)
    print(f"step {run.state.step} of {run.epochs * len(run.loader)}")


def _check_seed(run: Run, folder: Path) -> None:
    """The sampler goes on with its saved seed; the shifts must not go on with another."""
    if run.state.sampler.seed != run.data.seed:
        raise MismatchedCheckpointError(
            f"{folder} was started with seed {run.state.sampler.seed}, not {run.data.seed}: "
            "continue with that seed, or train in another folder"
        )


def _pause_in_step(step: int, state: TrainState) -> None:
    def pause(*_: object) -> None:
        if state.step + 1 == step:
            print(PAUSED, end="", flush=True)
            signal.pause()

    state.optimizer.register_step_post_hook(pause)


if __name__ == "__main__":
    main()

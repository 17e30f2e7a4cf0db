"""A training job of several processes, to be started by ``launch`` or ``torchrun``.

    python -m torch.distributed.run --standalone --nproc-per-node=2 \\
        -m course_utils.lessons.worker FOLDER --steps=12

It continues from the newest checkpoint in FOLDER, whatever the number of processes then.

All imports are made before the state is loaded: importing scikit-learn draws from Python's random
generator, and a run that did so after loading would differ from one that never stopped.
"""

import argparse
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import cast
from unittest import mock

import torch
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor
from torch.nn.functional import cross_entropy, dropout

from course_utils.distributed import commit
from course_utils.distributed import files as distributed_files
from course_utils.distributed.launch import process_group
from course_utils.distributed.ranks import rank, ranks
from course_utils.distributed.sharded import AsyncSaver, ShardedRun, load_sharded, save_sharded
from course_utils.lessons.data import digits
from course_utils.lessons.models import MLP
from course_utils.resume.rng import seed_everything
from course_utils.resume.sampler import ResumableSampler

BATCH = 50  # images a step, of all ranks together; 3 or 4 ranks get unequal parts


def main() -> None:
    """Train as the command line says."""
    options = _options()
    with process_group() as device:
        run = new_run(device)
        held, total = _parameters(run.model)
        print(f"holds {held:,} of {total:,} parameters")
        step = 0
        if commit.committed(options.folder):
            step = load_sharded(options.folder, run)
            print(f"continues from step {step}")
        if options.copy_to:
            save_sharded(options.copy_to, step, run)
        if step < options.steps:
            train(run, options, step, device)


def new_run(device: torch.device, hidden: int = 32) -> ShardedRun:
    """Return a small network spread over all ranks, with Adam and its place in the digits."""
    mesh = init_device_mesh(device.type, (ranks(),))
    torch.manual_seed(0)  # all ranks must start from the same model
    model = MLP(hidden).to(device)
    for layer in (model.features, model.head, model):
        fully_shard(layer, mesh=mesh)
    seed_everything(rank())  # from here on, each rank draws its own random numbers
    return ShardedRun(model, torch.optim.Adam(model.parameters(), 1e-3), ResumableSampler(1437))


def train(run: ShardedRun, options: argparse.Namespace, step: int, device: torch.device) -> None:
    """Train from ``step`` to ``options.steps`` and save on the way."""
    images, labels = (tensor.to(device) for tensor in digits().tensors)
    with AsyncSaver(options.folder) as saver:
        for batch in islice(_batches(cast(ResumableSampler, run.sampler)), options.steps - step):
            mine = torch.tensor(batch[rank() :: ranks()], device=device)
            train_step(run, images[mine], labels[mine], len(batch), options.dropout)
            step += 1
            if step % options.save_every == 0:
                with _dying(options.kill_in_save == step):
                    if options.asynchronous:
                        saver.save(step, run)
                    else:
                        save_sharded(options.folder, step, run)
    print(f"done at step {step}")


def train_step(run: ShardedRun, images: Tensor, labels: Tensor, batch: int, dropped: float) -> None:
    """Take one optimizer step on this rank's part of a batch.

    FSDP averages gradients over ranks. The loss is scaled so that this gives the mean over the
    whole batch, for any number of ranks and parts of any size.

    Args:
        run: what to train.
        images: this rank's part, ``(n, 1, 8, 8)``.
        labels: ``(n,)``.
        batch: images of all parts together.
        dropped: the fraction of pixels set to 0 at random.
    """
    logits = run.model(dropout(images, dropped))
    loss = cross_entropy(logits, labels, reduction="sum") * ranks() / batch
    loss.backward()
    run.optimizer.step()
    run.optimizer.zero_grad()


def _parameters(model: nn.Module) -> tuple[int, int]:
    """Return how many parameters this rank holds, and how many the model has."""
    shared = [cast(DTensor, parameter) for parameter in model.parameters()]
    return sum(p.to_local().numel() for p in shared), sum(p.numel() for p in shared)


def _batches(sampler: ResumableSampler) -> Iterator[list[int]]:
    """Yield batches for ever; a batch counts as trained on once the body of the loop has it."""
    while True:
        indices = iter(sampler)
        while batch := list(islice(indices, BATCH)):
            sampler.advance(len(batch))
            yield batch
        sampler.next_epoch()


@contextmanager
def _dying(now: bool) -> Iterator[None]:
    """Let the last rank die while the checkpoint is written: after its file, before the commit."""
    if not now or rank() != ranks() - 1:
        yield
        return

    def die(path: Path) -> None:
        print(f"killed after writing {path.name}")
        os.kill(os.getpid(), signal.SIGKILL)

    with mock.patch.object(distributed_files, "measure", die):
        yield


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Train a sharded model on the digits.")
    parser.add_argument("folder", type=Path, help="where its checkpoints are")
    parser.add_argument("--steps", type=int, default=12, help="train up to this step")
    parser.add_argument("--save-every", type=int, default=4, metavar="STEPS")
    parser.add_argument("--asynchronous", action="store_true", help="save in the background")
    parser.add_argument("--dropout", type=float, default=0.2, help="fraction of pixels dropped")
    parser.add_argument("--copy-to", type=Path, help="save the state at the start there, too")
    parser.add_argument("--kill-in-save", type=int, metavar="STEP", help="for lesson and tests")
    return parser.parse_args()


if __name__ == "__main__":
    main()

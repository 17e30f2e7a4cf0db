"""What the tests let several processes do, a few things a launch: starting costs the most."""

import argparse
import os
import signal
import sys
import threading
import time
import warnings
from itertools import islice
from pathlib import Path
from unittest import mock

import torch
from torch import nn
from torch.distributed.checkpoint.state_dict import StateDictOptions, get_state_dict
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.nn.functional import cross_entropy, dropout
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from course_utils.distributed import commit
from course_utils.distributed import files as distributed_files
from course_utils.distributed.launch import process_group
from course_utils.distributed.ranks import gather, rank, ranks
from course_utils.distributed.sharded import AsyncSaver, ShardedRun, load_sharded, save_sharded
from course_utils.errors import CheckpointError
from course_utils.lessons import worker as distributed_worker
from course_utils.lessons.data import digits
from course_utils.lessons.models import MLP
from course_utils.resume.rng import seed_everything
from course_utils.resume.sampler import ResumableSampler

CPU = torch.device("cpu")
STEPS, EVERY = 12, 4
DROPPED = 0.2


def train(folder: Path, dropped: float, *, load: bool, out: Path | None = None) -> None:
    run = distributed_worker.new_run(CPU)
    step = load_sharded(folder, run) if load else 0
    if out:
        write_what_each_rank_holds(run, out)
    options = argparse.Namespace(
        folder=folder, steps=STEPS, save_every=EVERY, asynchronous=True, dropout=dropped,
        kill_in_save=None,
    )  # fmt: skip
    distributed_worker.train(run, options, step, CPU)


def write_what_each_rank_holds(run: ShardedRun, out: Path) -> None:
    """Not by way of DCP's files: the tensors are gathered, the random numbers listed."""
    options = StateDictOptions(full_state_dict=True, cpu_offload=True)
    model, optimizer = get_state_dict(run.model, run.optimizer, options=options)
    random = gather(torch.get_rng_state())
    if rank() == 0:
        state = {"model": model, "optimizer": optimizer, "random": random}
        torch.save(state | {"sampler": run.sampler.state_dict()}, out)


def straight(folder: Path) -> None:
    train(folder / "dropout", DROPPED, load=False)
    train(folder / "plain", 0.0, load=False)


def resume(folder: Path) -> None:
    train(folder / "dropout", DROPPED, load=True)
    train(folder / "plain", 0.0, load=True, out=folder / "loaded.pt")


def killed(folder: Path) -> None:
    """Rank 1 is killed after so many seconds, wherever it is then."""
    if rank() == 1:
        seconds = float(os.environ["KILL_AFTER"])
        threading.Timer(seconds, os.kill, (os.getpid(), signal.SIGKILL)).start()
    go_on(folder)


def go_on(folder: Path) -> None:
    train(folder / "dropout", DROPPED, load=True)


class WithUnused(MLP):
    """It has a head that never gets a gradient."""

    def __init__(self):
        super().__init__(16)
        self.unused = nn.Linear(10, 10)


def full_run() -> ShardedRun:
    """A run with all parts."""
    mesh = init_device_mesh("cpu", (ranks(),))
    torch.manual_seed(0)
    model = WithUnused()
    ema = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(0.8))
    for whole in (model, ema.module):
        for module in (whole.features, whole.head, whole.unused, whole):
            fully_shard(module, mesh=mesh)
    seed_everything(rank())
    optimizer = torch.optim.AdamW(model.parameters(), 1e-2)
    scheduler = torch.optim.lr_scheduler.OneCycleLR(optimizer, 1e-2, total_steps=20)
    scaler = torch.amp.GradScaler("cpu", 4.0, growth_interval=2)
    sampler = ResumableSampler(1437)
    return ShardedRun(
        model, optimizer, sampler, scheduler=scheduler, scaler=scaler, ema=ema, tokens=0
    )


def train_full(run: ShardedRun, micro: int, folder: Path) -> None:
    """Two micro-batches a step, saved after each third of them: in the middle of a step too."""
    images, labels = digits().tensors
    while run.parts["tokens"] < micro:
        batch = list(islice(run.sampler, 24))
        mine = torch.tensor(batch[rank() :: ranks()])
        logits = run.model(dropout(images[mine], DROPPED))
        run.scaler.scale(cross_entropy(logits, labels[mine])).backward()
        run.sampler.advance(len(batch))
        run.parts["tokens"] += 1
        if run.parts["tokens"] % 2 == 0:
            run.scaler.step(run.optimizer)
            run.scaler.update()
            run.optimizer.zero_grad()
            run.scheduler.step()
            run.ema.update_parameters(run.model)
        if run.parts["tokens"] % 3 == 0:
            save_sharded(folder, run.parts["tokens"], run)


def full_straight(folder: Path) -> None:
    train_full(full_run(), 9, folder / "full")


def full_resume(folder: Path) -> None:
    """Go on from the newest, and save it once more elsewhere, as it was loaded."""
    run = full_run()
    step = load_sharded(folder / "full", run)
    save_sharded(folder / "full_again", step, run)
    train_full(run, 9, folder / "full")


def full_killed(folder: Path) -> None:
    """Rank 1 is killed so many seconds after a micro-batch, wherever it is then, or at its end."""
    run = full_run()
    train_full(run, int(os.environ["KILL_FROM"]), folder / "full")
    if rank() == 1:
        seconds = float(os.environ["KILL_AFTER"])
        threading.Timer(seconds, os.kill, (os.getpid(), signal.SIGKILL)).start()
    train_full(run, 9, folder / "full")
    if rank() == 1:
        time.sleep(60)


def full_load(folder: Path) -> None:
    """Load the newest, and save it once more elsewhere, as it was loaded."""
    run = full_run()
    step = load_sharded(folder / "full", run)
    save_sharded(folder / f"by_{ranks()}", step, run)


def full_go_on(folder: Path) -> None:
    run = full_run()
    load_sharded(folder / "full", run)
    train_full(run, 9, folder / "full")


def fail(folder: Path) -> None:
    """Every rank must raise the same error, also when only one of them is in trouble."""
    run = distributed_worker.new_run(CPU)
    save_sharded(folder, 1, run)
    report("again", lambda: save_sharded(folder, 1, run))

    full = OSError(28, "No space left on device")
    trouble = mock.Mock(side_effect=full if rank() else distributed_files.measure)
    with mock.patch.object(distributed_files, "measure", trouble):
        report("full", lambda: save_sharded(folder, 2, run))
        report("full later", lambda: save_later(folder, 3, run))

    damaged = commit.step_folder(folder, 1) / "__1_0.distcp"
    if rank() == 0:
        damaged.write_bytes(damaged.read_bytes()[:-1])
    report("damaged", lambda: load_sharded(folder, run))

    other = distributed_worker.new_run(CPU, hidden=16)
    save_sharded(folder, 4, other)
    report("other model", lambda: load_sharded(folder, run))
    report("committed", lambda: print([commit.step_of(path) for path in commit.committed(folder)]))


def save_later(folder: Path, step: int, run: ShardedRun) -> None:
    with AsyncSaver(folder) as saver:
        saver.save(step, run)


def disagree(folder: Path) -> None:
    """BatchNorm's statistics are each rank's own."""
    model = nn.BatchNorm1d(3)
    model(torch.randn(8, 3, generator=torch.Generator().manual_seed(rank())))
    optimizer = torch.optim.SGD(model.parameters())
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        save_sharded(folder, 5, ShardedRun(model, optimizer, ResumableSampler(10)))
    print("warned", [str(warning.message) for warning in caught])


def report(name: str, work) -> None:
    try:
        work()
    except CheckpointError as error:
        print(f"{name}: {type(error).__name__}: {error}")


if __name__ == "__main__":
    with process_group():
        torch.set_num_threads(1)
        for name in sys.argv[2:]:
            globals()[name](Path(sys.argv[1]))
        print(f"all done on {ranks()}")

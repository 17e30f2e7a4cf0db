"""Small runs with every optimizer and every scheduler, stopped anywhere and continued.

    python every_run.py FOLDER

continues, in a new process, every run that was stopped in FOLDER, and prints those whose end
differs from the one beside it.
"""

import contextlib
import itertools
import sys
import warnings
from pathlib import Path

import torch
from torch import nn
from torch.optim import lr_scheduler as schedules
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from course_utils.checkpoint import load_checkpoint, save_checkpoint
from course_utils.resume import ResumableSampler, TrainState, differences, seed_everything

MICRO, STEPS = 2, 5  # micro-batches a step, steps a run
STOPS = range(MICRO * STEPS + 1)  # micro-batches done


class Network(nn.Module):
    """Dropout, running statistics, and a head that is never used."""

    def __init__(self):
        super().__init__()
        self.first, self.norm = nn.Linear(4, 3, bias=False), nn.BatchNorm1d(3)
        self.drop, self.last, self.unused = nn.Dropout(0.3), nn.Linear(3, 2), nn.Linear(3, 2)

    def forward(self, rows):
        return self.last(self.drop(self.norm(self.first(rows))))


class Table(nn.Module):
    """Gradients of this one are sparse."""

    def __init__(self):
        super().__init__()
        self.rows, self.drop = nn.Embedding(6, 3, sparse=True), nn.Dropout(0.3)

    def forward(self, rows):
        return self.drop(self.rows((rows[:, :2].abs() * 2).long().clamp(max=5))).sum(1)


def of(kind, lr=0.02, **options):
    return lambda model: kind(model.parameters(), lr=lr, **options)


def muon(model):
    """It takes matrices only; what is left goes to a second optimizer."""
    return torch.optim.Muon([p for p in model.parameters() if p.ndim == 2], lr=0.02)


optim = torch.optim
OPTIMIZERS = {
    "Adadelta": of(optim.Adadelta), "Adafactor": of(optim.Adafactor), "Adagrad": of(optim.Adagrad),
    "Adam": of(optim.Adam), "Adam amsgrad": of(optim.Adam, amsgrad=True),
    "Adam fused": of(optim.Adam, fused=True), "Adam foreach": of(optim.Adam, foreach=True),
    "AdamW": of(optim.AdamW), "Adamax": of(optim.Adamax),
    "ASGD": of(optim.ASGD, t0=1), "LBFGS": of(optim.LBFGS),
    "NAdam": of(optim.NAdam), "RAdam": of(optim.RAdam), "RMSprop": of(optim.RMSprop),
    "RMSprop centered": of(optim.RMSprop, centered=True, momentum=0.9), "Rprop": of(optim.Rprop),
    "SGD": of(optim.SGD), "SGD nesterov": of(optim.SGD, momentum=0.9, nesterov=True),
    "SparseAdam": of(optim.SparseAdam),
    **({"Muon and AdamW": muon} if hasattr(optim, "Muon") else {}),
}  # fmt: skip
S = schedules
SCHEDULERS = {
    "StepLR": lambda o: S.StepLR(o, 2),
    "MultiStepLR": lambda o: S.MultiStepLR(o, [1, 3]),
    "LambdaLR": lambda o: S.LambdaLR(o, lambda step: 1 / (step + 1)),
    "CosineAnnealingLR": lambda o: S.CosineAnnealingLR(o, STEPS),
    "CosineAnnealingWarmRestarts": lambda o: S.CosineAnnealingWarmRestarts(o, 2),
    "OneCycleLR": lambda o: S.OneCycleLR(o, 0.05, total_steps=STEPS + 1, cycle_momentum=False),
    "CyclicLR": lambda o: S.CyclicLR(o, 0.01, 0.05, 2, cycle_momentum=False),
    "ReduceLROnPlateau": lambda o: S.ReduceLROnPlateau(o, patience=0),
    "SequentialLR": lambda o: S.SequentialLR(
        o, [S.LinearLR(o, 0.5, total_iters=2), S.ExponentialLR(o, 0.9)], [2]
    ),
}
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
PRODUCT = list(itertools.product(OPTIMIZERS, SCHEDULERS, DTYPES))


def possible(optimizer, dtype):
    """Whether torch itself can train so."""
    return dtype == "float32" or optimizer not in ("LBFGS", "SparseAdam")


class Run:
    """A run that counts micro-batches."""

    def __init__(self, optimizer, scheduler, dtype, seed=0):
        torch.set_num_threads(1)
        seed_everything(seed)
        model = (Table() if optimizer == "SparseAdam" else Network()).to(DTYPES[dtype])
        first = OPTIMIZERS[optimizer](model)
        self.optimizers, parts = [first], {}
        if optimizer.startswith("Muon"):
            rest = [p for p in model.parameters() if p.ndim != 2]
            parts["second"] = torch.optim.AdamW(rest, lr=0.02)
            self.optimizers.append(parts["second"])
        # A scaler can neither run a closure several times nor scale float64.
        self.closure = optimizer == "LBFGS"
        scaler = None if self.closure else torch.amp.GradScaler("cpu", 4.0, growth_interval=2)
        self.state = TrainState(
            model,
            first,
            scheduler=SCHEDULERS[scheduler](first),
            scaler=scaler,
            ema=AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(0.8), use_buffers=True),
            sampler=ResumableSampler(64, seed=3),
            micro=0,
            seen=torch.zeros(2, dtype=torch.float64),
            **parts,
        )
        self.data = torch.randn(64, 4, generator=torch.Generator().manual_seed(5)).to(DTYPES[dtype])

    def until(self, micro):
        while self.state.parts["micro"] < micro:
            self.micro_step()
        return self

    def micro_step(self):
        state, parts = self.state, self.state.parts
        rows = self.data[list(itertools.islice(state.sampler, 4))]
        with torch.autocast("cpu", torch.bfloat16, enabled=not self.closure):
            loss = state.model(rows).square().mean()
        (state.scaler.scale(loss) if state.scaler else loss).backward()
        state.sampler.advance(4)
        parts["micro"] += 1
        parts["seen"] += torch.tensor([1.0, loss.item()], dtype=torch.float64)
        if parts["micro"] % MICRO == 0:
            self.step(rows)

    def step(self, rows):
        state = self.state
        for optimizer in self.optimizers:
            if state.scaler:
                state.scaler.step(optimizer)
            else:
                optimizer.step(lambda: self.closed(rows))
            optimizer.zero_grad()
        if state.scaler:
            state.scaler.update()
        plateau = isinstance(state.scheduler, schedules.ReduceLROnPlateau)
        state.scheduler.step(*([1.0] if plateau else []))
        state.ema.update_parameters(state.model)
        state.step += 1

    def closed(self, rows):
        """Accumulate once more: a closure is called several times."""
        loss = self.state.model(rows).square().mean()
        loss.backward()
        return loss


@contextlib.contextmanager
def strict():
    """What a resume has to say is an error here; what torch says of its own doings is not."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Detected call of `lr_scheduler.step")
        warnings.filterwarnings(
            "ignore", message="Sparse invariant checks|.*sparse", category=UserWarning
        )
        for beginning in ("the checkpoint", "training has changed", "this run is built"):
            warnings.filterwarnings("error", message=beginning)
        yield


def save(names, micro, folder):
    """Run to a stop and save; run to the end and save that too."""
    with strict():
        run = Run(*names).until(micro)
        path = folder / f"{','.join(names)},{micro}.pt"
        save_checkpoint(path, run.state.state_dict())
        save_checkpoint(path.with_suffix(".end"), run.until(STOPS[-1]).state.state_dict())
    return path


def resume(path):
    """Continue a saved run in another; return what differs at the end."""
    *names, _ = path.stem.split(",")
    with strict():
        run = Run(*names, seed=99)
        run.state.load_state_dict(load_checkpoint(path))
        run.until(STOPS[-1])
        return differences(load_checkpoint(path.with_suffix(".end")), run.state.state_dict())


if __name__ == "__main__":
    paths = sorted(Path(sys.argv[1]).glob("*.pt"))
    for path in paths:
        if found := resume(path):
            print(path.stem, found)
    print(f"{len(paths)} runs continued")

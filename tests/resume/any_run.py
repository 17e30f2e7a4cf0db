"""Runs put together at random: those that can be saved, loaded by a new process.

    python any_run.py FOLDER

builds every run that was saved in FOLDER again with other weights, loads it, and prints those that
do not load or come back as something else.
"""

import argparse
import collections
import enum
import fractions
import random
import sys
import traceback
import warnings
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.optim import lr_scheduler as schedules
from torch.optim.swa_utils import AveragedModel

from course_utils.checkpoint import load_checkpoint, save_checkpoint
from course_utils.distributed import ShardedRun, load_sharded, save_sharded
from course_utils.errors import CheckpointWriteError
from course_utils.resume import ResumableSampler, TrainState, differences, seed_everything

KINDS = {kind.__name__: kind for kind in (TrainState, ShardedRun)}
Colour = enum.IntEnum("Colour", ["RED"])
Pair = collections.namedtuple("Pair", "a b")
ATOMS = [
    None, True, -1, 2**31, -(2**63), 2**900, 0.0, -0.0, float("inf"), 1e-320, 2.5 - 1j, "", "a.b",
    "ü", "\ud800", "\0", "x" * 300, b"\xff" * 300, bytearray(b"ab"), bytearray(), torch.float16,
    torch.Size([2, 0]), torch.device("cpu", 0), np.float32(0.1), np.int8(-3), np.float64("nan"),
    np.bool_(True),
    np.complex64(1j), np.str_("text"),
]  # fmt: skip
TENSORS = [
    torch.tensor(3), torch.empty(0, 2), torch.zeros(3, dtype=torch.bool), torch.arange(6.0)[1:5:2],
    torch.eye(3).T, torch.ones(1).expand(4), torch.ones(2, dtype=torch.complex64).conj(),
    torch.ones(2, dtype=torch.complex64).conj().imag, torch.eye(2).to_sparse(),
    torch.eye(2).to_sparse_csr(), torch.zeros(2, dtype=torch.float8_e5m2),
    torch.zeros(2, dtype=torch.uint16), torch.ones(1, 2, 3, 3).mT,
    torch.ones(2, requires_grad=True), nn.Parameter(torch.ones(2, dtype=torch.bfloat16)),
    torch.quantize_per_tensor(torch.ones(3), 0.1, 0, torch.qint8), torch.tensor(float("nan")),
]  # fmt: skip
# None of these passes weights-only; such a run may be refused, or come back as it was.
STRANGE = [
    Path("x"), np.zeros(2), fractions.Fraction(1, 3), Colour.RED, Pair(1, 2), range(3),
    frozenset({1}), collections.defaultdict(int), collections.deque([1]), argparse.Namespace(lr=1),
    len, slice(2), b"", torch.strided, torch.empty(2, device="meta"), np.datetime64("2024-01-01"),
]  # fmt: skip
KEYS = ["a", "b.c", "state", "params", "0", "", 0, -1, True, 1.5, None, (1, "x"), b"k", np.int64(4)]


def value(draw, depth=0):
    """Anything a user might keep, more often plain than not."""
    if draw.random() < 0.01:
        return draw.choice(STRANGE)
    kind = draw.randrange(4 if depth > 3 else 10)
    if kind < 3:
        return draw.choice(ATOMS)
    if kind == 3:
        return draw.choice(TENSORS)
    inside = [value(draw, depth + 1) for _ in range(draw.randrange(4))]
    if kind == 4:
        return tuple(inside)
    if kind == 5:
        return {"t", 1, 2.5, *([(1, 2)] if draw.random() < 0.5 else [])}
    if kind == 6:
        return inside
    pairs = zip(draw.sample(KEYS, len(inside)), inside, strict=True)
    return draw.choice([dict, collections.OrderedDict])(pairs)


class Odd(nn.Module):
    """Buffers of every kind, and a state of its own."""

    def __init__(self, draw):
        super().__init__()
        self.extra, self.with_extra = None, draw.random() < 0.5
        for number, buffer in enumerate(draw.sample(TENSORS, 3)):
            self.register_buffer(f"buffer{number}", buffer.detach().clone(), draw.random() < 0.8)
        self.alone = nn.Parameter(torch.tensor(0.5), requires_grad=draw.random() < 0.5)

    def get_extra_state(self):
        return self.extra

    def set_extra_state(self, state):
        self.extra = state


def layer(draw):
    """A layer of any kind; its name may be one that states use themselves."""
    kind = draw.randrange(9)
    if kind == 0:
        return nn.Embedding(4, 2, sparse=True)
    if kind == 1:
        return nn.Sequential(nn.BatchNorm1d(3), nn.Dropout())
    if kind == 2:
        return nn.Conv2d(1, 2, 3).to(memory_format=torch.channels_last)
    if kind == 3:
        return nn.utils.parametrizations.weight_norm(nn.Linear(3, 2))
    if kind == 4:
        return nn.ParameterDict({"ä": torch.ones(2), "params": torch.zeros(1, 2)})
    if kind == 5:
        return Odd(draw)
    if kind == 6:
        return nn.LSTM(2, 2)
    return nn.Linear(3, 2).to(draw.choice([torch.float32, torch.bfloat16, torch.float64]))


def network(draw):
    names = draw.sample(["first", "state", "0", "step", "param_groups", "ü", "model"], 3)
    model = nn.ModuleDict({name: layer(draw) for name in names})
    if draw.random() < 0.3:
        model["tied"] = model[names[0]]
    if draw.random() < 0.2:
        model[names[1]].requires_grad_(False)
    if draw.random() < 0.02:
        model["lazy"] = nn.LazyLinear(2)
    return model


OPTIMIZERS = ["Adadelta", "Adafactor", "Adagrad", "Adam", "AdamW", "Adamax", "ASGD", "LBFGS",
              "NAdam", "RAdam", "RMSprop", "Rprop", "SGD", "momentum"]  # fmt: skip


def optimizer(draw, parameters):
    name = draw.choice(OPTIMIZERS)
    lr = draw.choice([0.01, np.float64(0.01)])
    if name == "LBFGS":
        return torch.optim.LBFGS(parameters, lr=lr, max_iter=2)
    if name in ("Adam", "AdamW") and draw.random() < 0.3:
        lr = torch.tensor(0.01)
    options = {"momentum": 0.9} if name == "momentum" else {}
    kind = torch.optim.SGD if name == "momentum" else getattr(torch.optim, name)
    options |= {"foreach": False} if draw.random() < 0.5 or torch.is_tensor(lr) else {}
    cut = draw.randrange(len(parameters) + 1)
    groups = [{"params": parameters[:cut]}, {"params": parameters[cut:], "weight_decay": 0.1}]
    if draw.random() < 0.3:
        groups[0]["note"] = value(draw)
    return kind(groups, lr=lr, **options)


SCHEDULERS = [
    lambda o: None,
    lambda o: schedules.StepLR(o, 2),
    lambda o: schedules.LambdaLR(o, [lambda step: 1 / (step + 1)] * len(o.param_groups)),
    lambda o: schedules.CosineAnnealingLR(o, 7),
    lambda o: schedules.OneCycleLR(o, 0.05, total_steps=9, cycle_momentum=False),
    lambda o: schedules.ReduceLROnPlateau(o),
    lambda o: schedules.SequentialLR(o, [schedules.LinearLR(o), schedules.StepLR(o, 1)], [2]),
    lambda o: schedules.ChainedScheduler([schedules.LinearLR(o), schedules.StepLR(o, 1)]),
]  # fmt: skip


class Place:
    """A position in the data that may be anything."""

    def __init__(self):
        self.at = None

    def state_dict(self):
        return {"at": self.at}

    def load_state_dict(self, state):
        self.at = state["at"]


def cannot_be_copied(tensor):
    """By `copy.deepcopy`, with which torch makes an average of a model."""
    return nn.parameter.is_lazy(tensor) or tensor.layout == torch.sparse_csr


def new_run(kind, number, weights):
    """The run of a number, with weights of another.

    Returns:
        The run, what drew it, and its optimizers.
    """
    draw = random.Random(number)
    seed_everything(weights)
    model, second = network(draw), layer(draw)
    lone = nn.Parameter(torch.rand(2))
    takes = [[*model.parameters()], [*second.parameters(), lone]]
    sets = [[p for p in each if not nn.parameter.is_lazy(p)] for each in takes]
    first, other = (optimizer(draw, parameters) for parameters in sets)
    parts = {"second": second, "lone": lone, "other": other, "mine": None, "place": Place()}
    if draw.random() < 0.5:
        parts["scaler"] = torch.amp.GradScaler("cpu", enabled=draw.random() < 0.7)
    tensors = [*model.parameters(), *model.buffers()]
    if draw.random() < 0.4 and not any(map(cannot_be_copied, tensors)):
        parts["ema"] = AveragedModel(model, use_buffers=draw.random() < 0.5)
    if draw.random() < 0.6:
        parts["sampler"] = ResumableSampler(9)
    if scheduler := draw.choice(SCHEDULERS)(first):
        parts["scheduler"] = scheduler
    return kind(model, first, **parts), draw, [first, other]


def progress(run, draw, optimizers):
    """Steps, entries of the user's own, and gradients that wait."""
    for _ in range(draw.randrange(3)):
        for each in optimizers:
            give_gradients(each, draw, 0.8)
            each.step(*([lambda: torch.tensor(1.0)] if isinstance(each, torch.optim.LBFGS) else []))
            each.zero_grad()
        if run.scheduler:
            run.scheduler.step(*([1.0] if hasattr(run.scheduler, "patience") else []))
        if run.ema:
            run.ema.n_averaged += 1
        run.step += 1
    if draw.random() < 0.4:
        give_gradients(optimizers[0], draw, 0.5)
    run.step = draw.choice([int, np.int64, torch.tensor])(run.step)
    run.parts["mine"] = [value(draw) for _ in range(3)]
    run.parts["place"].at = value(draw)
    for module in run.model.modules():
        if getattr(module, "with_extra", False):
            module.extra = value(draw)


def give_gradients(each, draw, share):
    for group in each.param_groups:
        for parameter in group["params"]:
            if parameter.requires_grad and draw.random() < share:
                parameter.grad = torch.randn_like(parameter)


def save(kind, number, folder):
    """Save the run of a number and, by pickle, its state; say whether it was not refused."""
    run, draw, optimizers = new_run(kind, number, number)
    progress(run, draw, optimizers)
    try:
        if kind is TrainState:
            save_checkpoint(folder / f"{number}.pt", run.state_dict())
        else:
            save_sharded(folder / f"sharded-{number}", int(run.step), run)
    except CheckpointWriteError:
        return False
    truth = {key: v for key, v in run.state_dict().items() if key != "about"}
    torch.save(truth, folder / f"{kind.__name__}-{number}.truth")
    return True


def load(path):
    """Load a saved run into a new one; return what differs."""
    kind, number = path.stem.split("-")
    run, _, _ = new_run(KINDS[kind], int(number), weights=-1 % 2**31)
    if kind == "TrainState":
        run.load_state_dict(load_checkpoint(path.parent / f"{number}.pt"))
    else:
        load_sharded(path.parent / f"sharded-{number}", run)
    truth = torch.load(path, weights_only=False)
    return [name for name in differences(truth, run.state_dict()) if name != "about"]


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    truths = sorted(Path(sys.argv[1]).glob("*.truth"))
    for path in truths:
        try:
            found = load(path)
        except Exception:
            found = traceback.format_exc()
        if found:
            print(path.stem, found)
    print(f"{len(truths)} runs came back")

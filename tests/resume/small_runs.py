"""Small runs as people write them, stopped and continued: exact, or said when they were saved.

    python small_runs.py FOLDER

continues, in a new process, every run that was stopped in FOLDER, and prints what differs at the
end.
"""

import random
import sys
import warnings
from pathlib import Path

import numpy as np
import torch
import torch.nn.utils.prune
from torch import nn
from torch.nn.utils import parametrizations, parametrize
from torch.optim import lr_scheduler as schedules
from torch.optim import swa_utils
from torch.utils.data import DataLoader, RandomSampler, TensorDataset

from course_utils.checkpoint import load_checkpoint, save_checkpoint
from course_utils.resume import ResumableSampler, TrainState, differences, seed_everything

STOP, STEPS = 4, 8
RUNS = {}  # name: what builds it
SAID = {}  # name: what a save says; of the others it says nothing
ROWS = torch.randn(64, 4, generator=torch.Generator().manual_seed(5))


def run(said=None):
    """Register what builds a run: a function that returns a `TrainState` and one step."""

    def register(build):
        RUNS[build.__name__] = build
        if said:
            SAID[build.__name__] = said
        return build

    return register


def rows(state, size=4):
    start = int(state.step) * size % 60
    return ROWS[start : start + size]


def usual(state, after=lambda: None, loss=lambda out: out.square().mean(), clear=None):
    """Return the usual step."""

    def step():
        value = loss(state.model(rows(state)))
        value.backward()
        state.optimizer.step()
        (clear or state.optimizer.zero_grad)()
        after()
        state.step += 1
        return value.item()

    return step


def small(model=None, make=torch.optim.SGD, lr=0.05, options=None, **parts):
    model = model or nn.Sequential(nn.Linear(4, 3), nn.Tanh(), nn.Linear(3, 2))
    optimizer = make(model.parameters(), lr=lr, **(options or {}))
    return TrainState(model, optimizer, **parts)


def simple(state, **how):
    return state, usual(state, **how)


# Modules


class Body(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.last = nn.Linear(4, 3), nn.Linear(3, 2)

    def forward(self, x):
        return self.last(torch.tanh(self.first(x)))


@run(said=r"model\.calls: a plain attribute")
def counter_that_decides():
    class Net(Body):
        calls = 0

        def forward(self, x):
            self.calls += 1
            return super().forward(x) * (2.0 if self.calls % 3 == 0 else 1.0)

    return simple(small(Net()))


@run()
def counter_in_extra_state():
    class Net(Body):
        calls = 0

        def forward(self, x):
            self.calls += 1
            return super().forward(x) * (2.0 if self.calls % 3 == 0 else 1.0)

        def get_extra_state(self):
            return {"calls": self.calls}

        def set_extra_state(self, state):
            self.calls = state["calls"]

    return simple(small(Net()))


class Noisy(Body):
    def __init__(self):
        super().__init__()
        self.noise = torch.Generator().manual_seed(3)

    def forward(self, x):
        return super().forward(x + torch.randn(x.shape, generator=self.noise))


@run(said=r"model\.noise: a generator; name it as a part")
def generator_of_its_own():
    return simple(small(Noisy()))


@run()
def generator_of_its_own_as_a_part():
    model = Noisy()
    return simple(small(model, noise=model.noise))


@run(said=r"model\.hidden: a plain attribute")
def hidden_state_kept_between_batches():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.cell, self.hidden = nn.GRUCell(4, 2), None

        def forward(self, x):
            hidden = None if self.hidden is None else self.hidden.detach()
            self.hidden = self.cell(x, hidden)
            return self.hidden

    return simple(small(Net()))


@run(said=r"model\.norm\.mean: a buffer with persistent=False")
def running_statistic_that_is_not_persistent():
    class Norm(nn.Module):
        def __init__(self):
            super().__init__()
            self.register_buffer("mean", torch.zeros(4), persistent=False)

        def forward(self, x):
            self.mean.mul_(0.9).add_(0.1 * x.detach().mean(0))
            return x - self.mean

    class Net(Body):
        def __init__(self):
            super().__init__()
            self.norm = Norm()

        def forward(self, x):
            return super().forward(self.norm(x))

    return simple(small(Net()))


@run(said=r"model\.large: a buffer with persistent=False")
def large_buffer_that_is_not_persistent():
    class Net(Body):
        def __init__(self):
            super().__init__()
            self.register_buffer("large", torch.zeros(400_000), persistent=False)

        def forward(self, x):
            self.large += 0.1
            return super().forward(x + self.large[0])

    return simple(small(Net()))


@run()
def constants_that_are_not_persistent():
    class Net(Body):
        def __init__(self):
            super().__init__()
            self.register_buffer("mask", torch.ones(4, 4).tril(), persistent=False)
            self.register_buffer("angles", torch.arange(400_000.0), persistent=False)
            self.scales, self.names, self.table = [1, 2], {"a": np.ones(3)}, torch.ones(4)

        def forward(self, x):
            return super().forward(x @ self.mask + self.angles[1] * self.table * self.scales[0])

    return simple(small(Net()))


@run(said=r"model\.ready: a plain attribute")
def initialized_by_the_first_batch():
    class Net(Body):
        def __init__(self):
            super().__init__()
            self.ready, self.shift = False, nn.Parameter(torch.zeros(4))

        def forward(self, x):
            if not self.ready:
                self.shift.data, self.ready = x.mean(0), True
            return super().forward(x - self.shift)

    return simple(small(Net()))


@run(said=r"model\.1\.p: a plain attribute")
def dropout_that_grows():
    state = small(nn.Sequential(nn.Linear(4, 4), nn.Dropout(0.1), nn.Linear(4, 2)))

    def grow():
        state.model[1].p += 0.05

    return simple(state, after=grow)


@run(said=r"model\.stats: a plain attribute")
def counters_in_an_object_of_ones_own():
    class Stats:
        def __init__(self):
            self.seen, self.recent = 0, []

    class Net(Body):
        def __init__(self):
            super().__init__()
            self.stats = Stats()

        def forward(self, x):
            self.stats.seen += 1
            return super().forward(x) * self.stats.seen

    return simple(small(Net()))


@run()
def average_over_all_batches():
    model = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3, momentum=None), nn.Linear(3, 2))
    return simple(small(model))


@run()
def normalized_weights():
    model = nn.Sequential(
        parametrizations.spectral_norm(nn.Linear(4, 4)),
        parametrizations.weight_norm(nn.Linear(4, 4)),
        parametrizations.orthogonal(nn.Linear(4, 4)),
        nn.utils.spectral_norm(nn.Linear(4, 2)),
    )
    return simple(small(model, torch.optim.Adam))


@run()
def a_parametrization_of_ones_own():
    class Decay(nn.Module):
        def __init__(self):
            super().__init__()
            self.register_buffer("t", torch.zeros(()))

        def forward(self, weight):
            if self.training:
                self.t += 1
            return weight * 0.99**self.t

    model = Body()
    parametrize.register_parametrization(model.first, "weight", Decay())
    return simple(small(model))


@run()
def pruned_before():
    model = Body()
    nn.utils.prune.l1_unstructured(model.first, "weight", 0.5)
    return simple(small(model))


@run()
def layers_without_shapes_yet():
    model = nn.Sequential(nn.LazyLinear(3), nn.LazyBatchNorm1d(), nn.Linear(3, 2))
    return simple(small(model, options={"momentum": 0.9}))


@run()
def tied_weights():
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
    model[1].weight = model[0].weight
    return simple(small(model, torch.optim.AdamW))


@run()
def recurrent_and_attention():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.lstm, self.out = nn.LSTM(4, 4, 2, dropout=0.2), nn.Linear(4, 2)
            self.layer = nn.TransformerEncoderLayer(4, 2, 8)

        def forward(self, x):
            return self.out(self.layer(self.lstm(x[None])[0]))

    return simple(small(Net(), torch.optim.RAdam))


@run()
def the_plainest_run():
    return simple(small(Body()))


# Optimizers


class Counting(torch.optim.Optimizer):
    """Its rate falls with a counter of its own."""

    def __init__(self, parameters, lr):
        super().__init__(parameters, {"lr": lr})
        self.t = 0

    @torch.no_grad()
    def step(self, closure=None):
        self.t += 1
        for group in self.param_groups:
            for p in group["params"]:
                p.sub_(group["lr"] / self.t * p.grad)


@run(said=r"optimizer\.t: a plain attribute; keep it in state or param_groups")
def optimizer_with_a_counter():
    return simple(small(make=Counting))


@run()
def optimizer_that_saves_its_counter():
    class Saving(Counting):
        def state_dict(self):
            return super().state_dict() | {"t": self.t}

        def load_state_dict(self, state):
            super().load_state_dict({k: v for k, v in state.items() if k != "t"})
            self.t = state["t"]

    return simple(small(make=Saving))


class Sharp(torch.optim.Optimizer):
    """Sharpness-aware: two backward passes; the inner optimizer shares groups, not moments."""

    def __init__(self, parameters, lr):
        super().__init__(parameters, {"lr": lr})
        self.base = torch.optim.SGD(self.param_groups, lr=lr, momentum=0.9)
        self.param_groups = self.base.param_groups

    def step(self, closure=None):
        self.base.step()

    def load_state_dict(self, state):
        super().load_state_dict(state)
        self.base.param_groups = self.param_groups


@run(said=r"optimizer\.base: a plain attribute")
def optimizer_inside_another():
    return simple(small(make=Sharp))


@run()
def optimizer_that_counts_in_its_groups():
    """As LAMB and Adan of timm do: the counter is not there before the first step."""

    class Grouped(torch.optim.SGD):
        def step(self, closure=None):
            for group in self.param_groups:
                group["count"] = group.get("count", 0) + 1
                group["lr"] = 0.1 / group["count"]
            super().step()

    return simple(small(make=Grouped))


@run()
def optimizer_with_a_state_of_no_parameter():
    class Shared(torch.optim.SGD):
        def step(self, closure=None):
            self.state["all"]["t"] = self.state["all"].get("t", 0) + 1
            self.param_groups[0]["lr"] = 0.1 / self.state["all"]["t"]
            super().step()

    return simple(small(make=Shared))


@run(said=r"optimizer: a scheduler sets its lr and is no part")
def a_scheduler_that_was_forgotten():
    state = small(make=torch.optim.Adam)
    scheduler = schedules.StepLR(state.optimizer, 3, 0.5)
    return simple(state, after=scheduler.step)


@run(said=r"first\.bias and 1 more: trained by an optimizer that is no part")
def an_optimizer_that_was_forgotten():
    model = Body()
    matrices, others = ([p for p in model.parameters() if p.ndim == n] for n in (2, 1))
    second = torch.optim.Adam(others, lr=0.1)
    state = TrainState(model, torch.optim.SGD(matrices, lr=0.1))

    def clear():
        second.step()
        model.zero_grad()

    return simple(state, clear=clear)


@run()
def layers_that_no_optimizer_has():
    model = Body()
    return simple(TrainState(model, torch.optim.SGD(model.last.parameters(), lr=0.1)))


@run()
def a_teacher_that_follows():
    state = small(teacher=nn.Sequential(nn.Linear(4, 3), nn.Tanh(), nn.Linear(3, 2)))

    def after():
        with torch.no_grad():
            for mine, its in zip(
                state.parts["teacher"].parameters(), state.model.parameters(), strict=True
            ):
                mine.lerp_(its, 0.1)

    return simple(state, after=after)


@run()
def lbfgs():
    state = small(make=torch.optim.LBFGS, options={"line_search_fn": "strong_wolfe"})

    def step():
        def closure():
            state.optimizer.zero_grad()
            loss = state.model(rows(state)).square().mean()
            loss.backward()
            return loss

        state.step += 1
        return state.optimizer.step(closure).item()

    return state, step


@run()
def muon_with_adamw():
    model = Body()
    matrices = [p for p in model.parameters() if p.ndim == 2]
    make = getattr(torch.optim, "Muon", torch.optim.SGD)
    others = torch.optim.AdamW([p for p in model.parameters() if p.ndim < 2], lr=0.1, fused=True)
    state = TrainState(model, make(matrices, lr=0.1), others=others)

    def clear():
        others.step()
        model.zero_grad()

    return simple(state, clear=clear)


@run()
def rate_of_numpys():
    state = small(lr=np.float32(0.1), options={"momentum": 0.9})

    def decay():
        state.optimizer.param_groups[0]["lr"] *= 0.9  # in float32

    return simple(state, after=decay)


@run()
def rate_in_a_tensor():
    state = small(make=torch.optim.Adam, lr=torch.tensor(0.1), options={"foreach": False})
    state.scheduler = schedules.ExponentialLR(state.optimizer, 0.9)
    return simple(state, after=state.scheduler.step)


@run()
def gradients_that_are_never_cleared():
    return simple(small(), clear=lambda: None)


@run()
def gradients_cleared_in_place():
    state = small(options={"momentum": 0.9})
    return simple(state, clear=lambda: state.optimizer.zero_grad(set_to_none=False))


@run()
def gradients_cleared_before_backward():
    state = small(make=torch.optim.Adam)

    def step():
        state.optimizer.zero_grad()
        loss = state.model(rows(state)).square().mean()
        loss.backward()
        nn.utils.clip_grad_norm_(state.model.parameters(), 0.1)
        state.optimizer.step()
        state.step += 1
        return loss.item()

    return state, step


@run()
def clipping_by_a_history():
    state = small(norms=[])

    def step():
        loss = state.model(rows(state)).square().mean()
        loss.backward()
        limit = float(np.mean([*state.parts["norms"][-3:], 1.0]))
        norm = nn.utils.clip_grad_norm_(state.model.parameters(), limit)
        state.parts["norms"].append(np.float32(norm))
        state.optimizer.step()
        state.optimizer.zero_grad()
        state.step += 1
        return loss.item()

    return state, step


# Schedules and averages


def scheduled(make, metric=False):
    state = small(make=torch.optim.Adam)
    state = TrainState(state.model, state.optimizer, scheduler=make(state.optimizer))
    step = state.scheduler.step
    return simple(state, after=(lambda: step(1.0)) if metric else step)


@run()
def schedules_in_a_chain():
    return scheduled(
        lambda o: schedules.ChainedScheduler(
            [schedules.LinearLR(o, 0.1, total_iters=5), schedules.ExponentialLR(o, 0.9)]
        )
    )


@run()
def schedules_one_after_another():
    return scheduled(
        lambda o: schedules.SequentialLR(
            o, [schedules.LinearLR(o, 0.1, total_iters=3), schedules.CosineAnnealingLR(o, 5)], [3]
        )
    )


@run()
def schedule_by_plateau():
    return scheduled(lambda o: schedules.ReduceLROnPlateau(o, patience=1, cooldown=1), metric=True)


@run()
def schedule_by_an_object():
    class Factor:
        calls = 0

        def __call__(self, epoch):
            self.calls += 1
            return 1 / (1 + epoch)

    return scheduled(lambda o: schedules.LambdaLR(o, Factor()))


class Warmup:
    """A schedule of one's own."""

    def __init__(self, optimizer):
        self.optimizer, self.t, self.best = optimizer, 0, 9.0

    def step(self):
        self.t += 1
        self.best *= 0.9
        self.optimizer.param_groups[0]["lr"] = self.best * self.t / 100

    def state_dict(self):
        return {"t": self.t}

    def load_state_dict(self, state):
        self.t = state["t"]


@run(said=r"scheduler\.best: a plain attribute; return it from state_dict")
def schedule_of_ones_own_that_forgets():
    return scheduled(Warmup)


@run()
def schedule_of_ones_own():
    class Whole(Warmup):
        def state_dict(self):
            return {"steps": self.t, "_best": self.best}

        def load_state_dict(self, state):
            self.t, self.best = state["steps"], state["_best"]

    return scheduled(Whole)


@run()
def averaged_weights():
    model = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3), nn.Linear(3, 2))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    ema = swa_utils.AveragedModel(model)
    state = TrainState(
        model, optimizer, ema=ema, scheduler=swa_utils.SWALR(optimizer, 0.02, anneal_epochs=4)
    )

    def after():
        ema.update_parameters(model)
        state.scheduler.step()

    return simple(state, after=after)


@run()
def averages_in_a_dictionary():
    state = small()
    state.parts["shadow"] = {k: v.clone() for k, v in state.model.state_dict().items()}

    def after():
        for name, value in state.model.state_dict().items():
            state.parts["shadow"][name].mul_(0.9).add_(0.1 * value)

    return simple(state, after=after)


@run()
def scaled_gradients_with_overflows():
    state = small(scaler=torch.amp.GradScaler("cpu", 2.0**20, growth_interval=2))

    def step():
        loss = state.model(rows(state)).square().mean() * (1e35 if state.step == 2 else 1)
        state.scaler.scale(loss).backward()
        state.scaler.unscale_(state.optimizer)
        nn.utils.clip_grad_norm_(state.model.parameters(), 1.0)
        state.scaler.step(state.optimizer)
        state.scaler.update()
        state.optimizer.zero_grad()
        state.step += 1
        return loss.item()

    return state, step


# Structure


@run(said=r"model\.0\.weight\.requires_grad is True now")
def layers_trained_from_the_third_step_on():
    state = small()
    state.model[0].requires_grad_(False)
    state = TrainState(state.model, state.optimizer)

    def after():
        if state.step == 2:
            state.model[0].requires_grad_(True)

    return simple(state, after=after)


@run(said=r"groups of \[2, 2\] parameters, here \[2\]")
def a_group_added_at_the_third_step():
    model = nn.Sequential(nn.Linear(4, 3), nn.Tanh(), nn.Linear(3, 2))
    state = TrainState(model, torch.optim.SGD(model[2].parameters(), lr=0.1))

    def after():
        if state.step == 2:
            state.optimizer.add_param_group({"params": [*model[0].parameters()]})

    return simple(state, after=after)


@run(said=r"model\.3\.weight is in the checkpoint only")
def a_layer_added_at_the_third_step():
    state = small()

    def after():
        if state.step == 2:
            state.model.append(nn.Linear(2, 2))
            state.optimizer.add_param_group({"params": [*state.model[3].parameters()]})

    return simple(state, after=after)


@run(said=r"model\.first\.weight_orig is in the checkpoint only")
def pruned_at_the_third_step():
    state = small(Body())

    def after():
        if state.step == 2:
            nn.utils.prune.l1_unstructured(state.model.first, "weight", 0.5)

    return simple(state, after=after)


@run(said=r"model\.1\.training is False now")
def statistics_frozen_at_the_third_step():
    state = small(nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3), nn.Linear(3, 2)))

    def after():
        if state.step == 2:
            state.model[1].eval()

    return simple(state, after=after)


@run()
def statistics_frozen_in_each_step():
    state = small(nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3), nn.Linear(3, 2)))

    def step():
        state.model.train()
        state.model[1].eval()
        state.model[0].requires_grad_(state.step % 2 == 0)
        value = once()
        state.model.eval() if state.step % 2 else state.model[0].requires_grad_(True)
        return value

    once = usual(state)
    return state, step


# Data


@run()
def a_sampler_of_torch_with_its_generator():
    """An epoch a step: the place in an epoch is not needed."""
    order = torch.Generator()
    data = TensorDataset(ROWS[:8])
    loader = DataLoader(
        data, batch_size=4, sampler=RandomSampler(data, generator=order), generator=order
    )
    state = small(order=order)

    def step():
        total = 0.0
        for (batch,) in loader:
            loss = state.model(batch).square().mean()
            loss.backward()
            state.optimizer.step()
            state.optimizer.zero_grad()
            total += loss.item()
        state.step += 1
        return total

    return state, step


@run()
def a_loader_in_the_middle_of_an_epoch():
    sampler = ResumableSampler(64, seed=1)
    loader = DataLoader(
        TensorDataset(ROWS), batch_size=4, sampler=sampler, generator=torch.Generator()
    )
    state = small(sampler=loader)

    def step():
        (batch,) = next(iter(loader))
        loss = state.model(batch + random.random() + np.random.rand()).square().mean()  # noqa: NPY002
        loss.backward()
        state.optimizer.step()
        state.optimizer.zero_grad()
        sampler.advance(4)
        state.step += 1
        return loss.item()

    return state, step


@run(said=r"sampler\.left: a plain attribute; return it from state_dict")
def a_sampler_that_forgets():
    class Sampler:
        def __init__(self):
            self.at, self.left = 0, 60

        def state_dict(self):
            return {"at": self.at}

        def load_state_dict(self, state):
            self.at = state["at"]

    state = small(sampler=Sampler())

    def step():
        sampler = state.sampler
        loss = state.model(ROWS[sampler.left - 4 : sampler.left]).square().mean()
        loss.backward()
        state.optimizer.step()
        state.optimizer.zero_grad()
        sampler.at, sampler.left, state.step = sampler.at + 1, sampler.left - 4, state.step + 1
        return loss.item()

    return state, step


def begin(name, seed):
    """Build the run of a name; return it and its step."""
    torch.set_num_threads(1)
    seed_everything(seed)
    return RUNS[name]()


def save(name, folder):
    """Run to the stop and save; run to the end, and save that too; return what the saves said."""
    state, step = begin(name, 0)
    for _ in range(STOP):
        step()
    path = folder / f"{name}.pt"
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for _ in range(2):  # a second save says nothing more
            save_checkpoint(path, state.state_dict())
    losses = [step() for _ in range(STEPS - STOP)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        save_checkpoint(path.with_suffix(".end"), {"state": state.state_dict(), "losses": losses})
    return [str(warning.message) for warning in caught]


def resume(path):
    """Continue a saved run in another; return what differs at the end."""
    state, step = begin(path.stem, 99)
    state.load_state_dict(load_checkpoint(path))
    losses = [step() for _ in range(STEPS - STOP)]
    end = {"state": state.state_dict(), "losses": losses}
    return differences(load_checkpoint(path.with_suffix(".end")), end)


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    for path in sorted(Path(sys.argv[1]).glob("*.pt")):
        try:
            found = resume(path)
        except Exception as error:
            found = [f"{type(error).__name__}: {error}".replace("\n", " ")]
        print(path.stem, *(["differs", *found] if found else ["exact"]))

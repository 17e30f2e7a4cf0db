"""Exact resume, proved both ways: with every piece it is exact, without any one it is not."""

import copy
import random

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torch.utils.data import DataLoader, TensorDataset

from course_utils.errors import MismatchedCheckpointError
from course_utils.lessons.data import Augmented, digits
from course_utils.lessons.models import DigitsCNN
from course_utils.resume.compare import differences
from course_utils.resume.rng import seed_everything
from course_utils.resume.sampler import ResumableSampler
from course_utils.resume.train_state import TrainState

STEPS = 14  # of 6 an epoch: the run ends inside the third
IMAGES = TensorDataset(*(tensor[:96] for tensor in digits().tensors))


class Training:
    """A run with everything that can be forgotten, and a trail of what it did."""

    def __init__(self, seed=0, workers=0):
        torch.set_num_threads(1)
        seed_everything(seed)
        model = DigitsCNN(dropout=0.3, width=4)
        optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
        self.data = Augmented(IMAGES, seed=5)
        self.state = TrainState(
            model,
            optimizer,
            scheduler=torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.9),
            scaler=torch.amp.GradScaler("cpu", init_scale=4.0, growth_interval=4),
            ema=AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(0.8), use_buffers=True),
            sampler=ResumableSampler(len(self.data), seed=7),
        )
        self.loader = DataLoader(
            self.data,
            batch_size=16,
            sampler=self.state.sampler,
            num_workers=workers,
            generator=torch.Generator(),
        )
        self.losses, self.images = [], []

    def run_until(self, last):
        while self.state.step < last:
            self.data.set_epoch(self.state.epoch)
            for images, labels, indices in self.loader:
                self.train_step(images, labels, indices)
                if self.state.step == last:
                    break
            if self.state.sampler.position == len(self.data):
                self.state.epoch += 1
                self.state.sampler.next_epoch()
        return self

    def train_step(self, images, labels, indices):
        state = self.state
        noisy = images + random.random() * torch.from_numpy(
            np.random.normal(0, 0.1, images.shape).astype(np.float32)  # noqa: NPY002
        )
        loss = cross_entropy(state.model.train()(noisy), labels)
        state.optimizer.zero_grad()
        state.scaler.scale(loss).backward()
        state.scaler.step(state.optimizer)
        state.scaler.update()
        state.scheduler.step()
        state.ema.update_parameters(state.model)
        state.step += 1
        state.sampler.advance(len(indices))
        self.losses.append(loss.item())
        self.images += indices.tolist()


def saved_and_loaded(state, path):
    """What another process would get."""
    torch.save(state, path)
    return torch.load(path, weights_only=True)


@pytest.fixture(scope="module")
def straight():
    return Training().run_until(STEPS)


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("k", [0, 1, 4, 6, 9, STEPS])
def test_resume_after_k_steps_is_exact(straight, k, workers, tmp_path):
    first = Training(workers=workers).run_until(k)
    state = saved_and_loaded(first.state.state_dict(), tmp_path / "state.pt")
    second = Training(seed=99, workers=workers)
    second.state.load_state_dict(state)
    second.run_until(STEPS)
    assert first.losses + second.losses == straight.losses
    assert first.images + second.images == straight.images
    assert differences(straight.state.state_dict(), second.state.state_dict()) == []


def drop_running_statistics(state, fresh):
    for name, value in fresh["model"].items():
        if "running" in name:
            state["model"][name] = value


def drop_moments(state, fresh):
    for entry in state["optimizer"]["state"].values():
        entry["exp_avg"].zero_()


def drop(*path):
    def replace(state, fresh):
        *parents, last = path
        for key in parents:
            state, fresh = state[key], fresh[key]
        state[last] = fresh[last]

    return replace


PIECES = {
    "model": drop("model"),
    "running statistics": drop_running_statistics,
    "optimizer": drop("optimizer", "state"),
    "momentum": drop_moments,
    "optimizer's settings": drop("optimizer", "param_groups"),
    "scheduler": drop("scheduler"),
    "scaler": drop("scaler"),
    "ema": drop("ema"),
    "ema's count": drop("ema", "n_averaged"),
    "sampler": drop("sampler"),
    "position in the epoch": drop("sampler", "position"),
    "epoch": drop("epoch"),
    "step": drop("step"),
    "all generators": drop("rng"),
    "Python's generator": drop("rng", "python"),
    "NumPy's generator": drop("rng", "numpy"),
    "PyTorch's generator": drop("rng", "torch"),
}


def resume_without(piece):
    """Resume at step 9, inside the second epoch, with one piece as in a new run."""
    state = copy.deepcopy(Training().run_until(9).state.state_dict())
    second = Training(seed=99)
    PIECES[piece](state, copy.deepcopy(second.state.state_dict()))
    second.state.load_state_dict(state)
    return second.run_until(STEPS)


@pytest.mark.parametrize("piece", PIECES)
def test_without_any_one_piece_it_is_not_exact(straight, piece):
    resumed = resume_without(piece)
    assert differences(straight.state.state_dict(), resumed.state.state_dict())


def test_comparing_losses_alone_misses_the_running_statistics(straight):
    resumed = resume_without("running statistics")
    assert resumed.losses == straight.losses[9:]
    found = differences(straight.state.state_dict(), resumed.state.state_dict())
    assert all("running" in path for path in found)


def test_a_loader_without_its_own_generator_draws_from_the_global_one(straight):
    first = Training().run_until(9)
    state = copy.deepcopy(first.state.state_dict())
    second = Training(seed=99)
    second.loader = DataLoader(second.data, batch_size=16, sampler=second.state.sampler)
    second.state.load_state_dict(state)
    assert second.run_until(STEPS).losses != straight.losses[9:]


def broken(change):
    """A state that does not fit a new `Training`, and what the message must say."""
    state = copy.deepcopy(Training().run_until(1).state.state_dict())
    change(state)
    return state


def rename_a_parameter(state):
    state["model"]["module.head.bias"] = state["model"].pop("head.bias")


def sgd_in_place_of_adam(state):
    model = Training().state.model
    state["optimizer"] = torch.optim.SGD(model.parameters(), lr=0.1).state_dict()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda s: s.pop("rng"), "rng is not in the checkpoint"),
        (lambda s: s.pop("step"), "step is not in the checkpoint"),
        (lambda s: s.update(discriminator={}), "discriminator is in the checkpoint only"),
        (rename_a_parameter, "model.head.bias is not in the checkpoint"),
        (rename_a_parameter, "model.module.head.bias is in the checkpoint only"),
        (lambda s: s["model"].update({"head.bias": torch.ones(3)}), r"head.bias: shape \(3,\)"),
        (lambda s: s["parameter_order"]["optimizer"][0].reverse(), "another order"),
        (lambda s: s.update(scaler={}), "scaler: enabled on one side"),
        (lambda s: s["sampler"].update(size=7), "dataset has 7 examples"),
        (lambda s: s["sampler"].update(position=97), "position 97"),
        (lambda s: s["sampler"].pop("position"), "sampler.*position"),
        (lambda s: s["scheduler"].pop("gamma"), "scheduler.gamma"),
        (lambda s: s["scaler"].pop("scale"), "scaler.scale is not in the checkpoint"),
        (lambda s: s["rng"].pop("numpy"), "rng.numpy.keys is not in the checkpoint"),
        (lambda s: s["rng"]["python"].pop("words"), "rng.python.words is not in"),
        (lambda s: s["rng"].update(torch=torch.zeros(3, dtype=torch.uint8)), "rng.torch: shape"),
        (lambda s: s["optimizer"].pop("state"), "optimizer.state is not in"),
        (lambda s: s["optimizer"].pop("param_groups"), "optimizer.param_groups is not in"),
        (sgd_in_place_of_adam, "optimizer: .*momentum"),
        (lambda s: s.update(model=[1]), "model is a list"),
        (lambda s: s.update(epoch="two"), "epoch is 'two'"),
        (lambda s: s["model"].update({"head.bias": torch.ones(10).half()}), "torch.float16, here"),
    ],
)
def test_a_state_that_does_not_fit_is_refused_and_nothing_changes(change, words):
    state = broken(change)
    training = Training(seed=3)
    before = copy.deepcopy(training.state.state_dict())
    with pytest.raises(MismatchedCheckpointError, match=words):
        training.state.load_state_dict(state)
    assert differences(before, training.state.state_dict()) == []


def test_parts_that_are_not_there_are_not_saved():
    model = nn.Linear(2, 2)
    state = TrainState(model, torch.optim.SGD(model.parameters(), lr=0.1))
    assert set(state.state_dict()) == {
        "epoch", "step", "parameter_order", "about", "model", "optimizer", "rng",
    }  # fmt: skip


def test_groups_are_compared_by_name():
    model = nn.Linear(2, 2)
    one = TrainState(model, torch.optim.SGD([{"params": [model.weight]}, {"params": [model.bias]}]))
    two = TrainState(model, torch.optim.SGD([{"params": [model.bias]}, {"params": [model.weight]}]))
    with pytest.raises(MismatchedCheckpointError, match="another order"):
        two.load_state_dict(one.state_dict())

"""What a save says of the things that no part holds, and what it has no reason to say."""

import collections
import copy
import random
import warnings

import numpy as np
import pytest
import torch
from torch import nn
from torch.optim import lr_scheduler as schedules
from torch.utils.data import DataLoader, RandomSampler

from course_utils.errors import CheckpointWriteError, MismatchedCheckpointError
from course_utils.resume import TrainState, differences
from course_utils.resume.snapshots import ITEMS, same, snapshot


class Own:
    """An object of one's own."""

    def __init__(self, **attributes):
        vars(self).update(attributes)


def new_state(model=None, **parts):
    model = model or nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
    return TrainState(model, torch.optim.SGD(model.parameters(), lr=0.1), **parts)


def said(state):
    """What a save says, without the heading."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        state.state_dict()
    return [line for w in caught for line in str(w.message).splitlines()[1:]]


def step(state, module=None):
    for parameter in (module or state.model).parameters():
        parameter.grad = torch.ones_like(parameter)
    state.optimizer.step()
    state.optimizer.zero_grad()


# Attributes

BUFFER = torch.zeros(3)
CHANGES = {
    "number": (1, 2),
    "flag": (False, True),
    "text": ("a", "b"),
    "of NumPy": (np.float32(1), np.float32(2)),
    "set to something": (None, 0.0),
    "list": ([1], [1, 2]),
    "item": ([1, 2], [1, 3]),
    "deep": ({"a": [(1, {2: 3})]}, {"a": [(1, {2: 4})]}),
    "set": ({1}, {2}),
    "deque": (collections.deque([1]), collections.deque([1, 1])),
    "long list": ([0] * (ITEMS + 1), [0] * (ITEMS + 2)),
    "tensor": (torch.zeros(3), torch.tensor([0.0, 0, 1])),
    "sign of zero": (torch.zeros(1), -torch.zeros(1)),
    "large tensor": (torch.zeros(400_000), torch.zeros(400_000)),
    "sparse tensor": (torch.eye(2).to_sparse(), torch.eye(2).to_sparse()),
    "array": (np.zeros(3), np.ones(3)),
    "large array": (np.zeros(400_000), np.ones(400_000)),
    "shape of an array": (np.zeros((2, 3)), np.zeros((3, 2))),
    "object": (Own(a=1), Own(a=2)),
    "object in a list": ([Own(a=1)], [Own(a=2)]),
    "python's generator": (random.Random(1), random.Random(2)),
    "numpy's generator": (np.random.default_rng(1), np.random.default_rng(2)),
    "layer in a list": ([nn.BatchNorm1d(2)], [nn.BatchNorm1d(2, eps=1).train()]),
}
CHANGES["layer in a list"][1][0].running_mean += 1


@pytest.mark.parametrize("kind", CHANGES)
def test_a_changed_attribute_is_said_once(kind):
    state = new_state()
    before, now = CHANGES[kind]
    state.model[0].mine = before
    state = new_state(state.model)
    assert said(state) == []
    state.model[0].mine = now
    (line,) = said(state)
    assert line.startswith("- model.0.mine: a ")
    assert said(state) == []
    state.model[0].other = 5
    assert said(state) == [
        "- model.0.other: a plain attribute; make it a buffer, or return it from get_extra_state"
    ]


EQUAL = {
    "equal": (1.5, 1.5),
    "nan": (float("nan"), float("nan")),
    "equal list": ([1, "a"], [1, "a"]),
    "equal tensor": (torch.ones(3), torch.ones(3)),
    "equal array": (np.ones(3), np.ones(3)),
    "equal object": (Own(a=1), Own(a=1)),
    "code": (torch.relu, torch.tanh),
    "from nothing to code": (None, print),
    "iterator": (iter([1]), iter([2])),
    "an object of a library": (torch.Event(), torch.Event()),
    "objects in it": (Own(a=iter([1])), Own(a=iter([1]))),
}


@pytest.mark.parametrize("kind", EQUAL)
def test_an_equal_attribute_is_not_said_and_neither_is_what_cannot_be_compared(kind):
    before, now = EQUAL[kind]
    state = new_state()
    state.model[0].mine = before
    state = new_state(state.model)
    state.model[0].mine = now
    assert said(state) == []


@pytest.mark.parametrize("now", [None, [], {}, print, [print], {"a": None}], ids=repr)
def test_an_attribute_that_came_later_and_is_empty_is_not_said(now):
    state = new_state()
    state.model[0].later = now
    assert said(state) == []


def test_what_lies_in_a_parameter_or_another_part_is_saved():
    state = new_state()
    state.model.view, state.model.row = state.model[0].weight, state.model[0].weight.data[0]
    state.model.statistic, state.model.layers = state.model[1].running_mean, [state.model[1]]
    generator, other = torch.Generator(), torch.zeros(1)
    state.model.generator, state.model.other = generator, other
    state = new_state(state.model, generator=generator, other=other)
    state.model(torch.rand(4, 2)).sum().backward()
    step(state)
    torch.rand(1, generator=generator)
    other += 1
    assert said(state) == []


def test_what_is_changed_in_place_is_seen():
    state = new_state()
    state.model.small, state.model.array = torch.zeros(2), np.zeros(2)
    state.model.register_buffer("passing", torch.zeros(2), persistent=False)
    state = new_state(state.model)
    state.model.small += 1
    state.model.array[0] = 1
    state.model.passing += 1
    assert [line.split(":")[0] for line in said(state)] == [
        "- model.small",
        "- model.array",
        "- model.passing",
    ]


def test_a_large_tensor_is_compared_by_its_version():
    tensor, other = torch.zeros(400_000), torch.zeros(400_000)
    before = snapshot(tensor)
    assert same(before, snapshot(tensor))
    assert not same(before, snapshot(other))
    assert not same(before, snapshot(torch.zeros(3)))
    tensor[5] = 1
    assert not same(before, snapshot(tensor))


def test_an_array_of_objects_and_an_inference_tensor_can_be_looked_at():
    with torch.inference_mode():
        tensor = torch.zeros(400_000)
    assert same(snapshot(tensor), snapshot(tensor))
    assert same(snapshot(np.array([print])), snapshot(np.array([len])))


# Where a part's own state holds it


class Extra(nn.Linear):
    """Saves its count under a name, or as itself."""

    def __init__(self, save):
        super().__init__(2, 2)
        self.count, self.flag, self.save = 0, False, save

    def get_extra_state(self):
        return self.save(self)

    def set_extra_state(self, state):
        pass


@pytest.mark.parametrize(
    "save",
    [
        lambda it: {"count": it.count},
        lambda it: {"_count": 0},
        lambda it: {"n": it.count},
        lambda it: it.count,
        lambda it: torch.tensor(it.count),
        lambda it: [("x", it.count)],
        lambda it: np.int64(it.count),
    ],
)
@pytest.mark.parametrize("wrap", [lambda m: m, lambda m: nn.Sequential(nn.Sequential(m))])
def test_extra_state_that_has_it_by_name_or_value(save, wrap):
    model = Extra(save)
    state = new_state(wrap(model))
    model.count = np.int64(7)
    assert said(state) == []
    model.flag = True
    (line,) = said(state)
    assert "flag: a plain attribute" in line


def test_a_parents_extra_state_has_it_and_a_neighbours_has_not():
    class Parent(Extra):
        pass

    parent, neighbour = Parent(lambda it: it.inner.count), nn.Linear(2, 2)
    parent.inner = nn.Linear(2, 2)
    neighbour.count = parent.inner.count = 0
    state = new_state(nn.ModuleDict({"parent": parent, "neighbour": neighbour}))
    neighbour.count = parent.inner.count = 7
    (line,) = said(state)
    assert line.startswith("- model.neighbour.count: ")


class Place:
    """A position in the data, with a state of its own making."""

    def __init__(self, **attributes):
        self.state = {}
        vars(self).update(attributes)

    def state_dict(self):
        return self.state

    def load_state_dict(self, state):
        pass


def test_of_an_object_with_a_state_only_numbers_and_generators_are_looked_at():
    place = Place(at=0, rate=0.5, cache=[1], ready=False, order=torch.zeros(3), g=random.Random(1))
    state = new_state(sampler=place, place=Place(at=1))
    place.at, place.rate, place.cache, place.ready, place.order = 1, 0.25, [2], True, torch.ones(3)
    place.g.random()
    state.parts["place"].at = 5
    place.state = {"position": 1}
    assert said(state) == [
        "- sampler.rate: a plain attribute; return it from state_dict, and take it in "
        "load_state_dict",
        "- sampler.g: a generator; name it as a part: TrainState(…, name=…)",
        "- place.at: a plain attribute; return it from state_dict, and take it in load_state_dict",
    ]


class Counting(torch.optim.SGD):
    t = 0

    def step(self, closure=None):
        self.t += 1
        super().step()


class Telling(Counting):
    def state_dict(self):
        state = super().state_dict()
        state["param_groups"][0]["count"] = self.t
        return state


@pytest.mark.parametrize("kind", [Counting, Telling])
def test_an_optimizers_attribute(kind):
    model = nn.Linear(2, 2)
    state = TrainState(model, kind(model.parameters(), momentum=0.9))
    state.optimizer.register_step_pre_hook(lambda *_: None)
    step(state)
    expected = ["- optimizer.t: a plain attribute; keep it in state or param_groups"]
    assert said(state) == (expected if kind is Counting else [])


def test_a_number_in_an_optimizers_state_is_not_its_attribute():
    """Adam counts steps, too; that says nothing of a counter of somebody's own."""

    class Own(torch.optim.Adam):
        t = 0.0

        def state_dict(self):
            return super().state_dict()

        def step(self, closure=None):
            self.t += 1
            super().step()

    model = nn.Linear(2, 2)
    state = TrainState(model, Own(model.parameters()))
    step(state)
    assert said(state)[0].startswith("- optimizer.t: ")


# Flags


def test_what_is_trained_and_what_is_in_evaluation_mode():
    state = new_state()
    step(state)
    state.model.eval()  # all of it, to measure accuracy
    assert said(state) == []
    state.model.train()
    state.model[1].eval()
    state.model[0].weight.requires_grad_(False)
    assert said(state) == [
        "- model.0.weight.requires_grad is False now; a new run has to set it, too",
        "- model.1.training is False now; a new run has to set it, too",
    ]


@pytest.mark.parametrize("when", ["built", "first step"])
def test_flags_that_are_as_they_were_when_built_or_at_the_first_step(when):
    state = new_state()
    if when == "built":
        state.model[1].eval()
        state = new_state(state.model)
        state.model.train()
        step(state)
    else:
        state.model[0].weight.requires_grad_(False)
    state.model[1].eval()
    step(state)
    step(state)
    assert said(state) == []


# Structure


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda s: s.model.append(nn.ReLU()), None),
        (lambda s: s.model.append(nn.Linear(2, 2)), "model.2.weight is in the checkpoint only"),
        (lambda s: s.model.half(), "model.0.weight: torch.float16, here torch.float32"),
        (lambda s: delattr(s.model[1], "running_mean"), "model.1.running_mean is not in the"),
        (lambda s: s.optimizer.param_groups[0].update(mine=1), None),
        (lambda s: s.optimizer.param_groups[0]["params"].reverse(), "in another order"),
        (lambda s: s.optimizer.param_groups[0]["params"].pop(), "groups of [3] parameters"),
        (lambda s: setattr(s.scheduler, "mine", 1), "scheduler.mine is in the checkpoint only"),
        (lambda s: setattr(s.scheduler, "_mine", 1), None),
        (lambda s: setattr(s.scaler, "_enabled", False), "scaler: enabled on one side"),
        (lambda s: setattr(s, "model", nn.DataParallel(s.model)), None),
    ],
)
def test_what_a_run_built_as_this_one_was_could_not_load_is_said(change, words):
    model, scaler = new_state().model, torch.amp.GradScaler("cpu")
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    scheduler = schedules.StepLR(optimizer, 2)
    state = TrainState(model, optimizer, scheduler=scheduler, scaler=scaler)
    change(state)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        state.state_dict()
    found = [str(w.message) for w in caught if "before a new run loads" in str(w.message)]
    assert len(found) == bool(words)
    if words:
        assert words in found[0]
        assert said(state) == []


# Parts that were forgotten


def test_a_scheduler_that_is_no_part():
    state = new_state()
    scheduler = schedules.StepLR(state.optimizer, 2)
    (line,) = said(state)
    assert line == (
        "- optimizer: a scheduler sets its lr and is no part; name it: TrainState(…, scheduler=…)"
    )
    for part in (scheduler, Own(step=len, state_dict=dict, load_state_dict=len)):
        named = TrainState(state.model, state.optimizer, decay=part)
        assert said(named) == []
    other = torch.optim.SGD(state.model.parameters())
    of_another = schedules.StepLR(other, 2)
    assert said(TrainState(state.model, state.optimizer, decay=of_another)) == [line]


def two_optimizers(**parts):
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2), nn.Linear(2, 2))
    first = torch.optim.SGD(model[0].parameters(), lr=0.1)
    second = torch.optim.SGD(model[1].parameters(), lr=0.1)
    return TrainState(model, first, **parts), second


def step_both(state, second):
    for parameter in state.model.parameters():
        parameter.grad = torch.ones_like(parameter)
    for optimizer in (state.optimizer, second):
        optimizer.step()
    state.model.zero_grad()


def test_an_optimizer_that_is_no_part():
    state, second = two_optimizers()
    step_both(state, second)
    line = (
        "- 1.weight and 1 more: trained by an optimizer that is no part; name it: "
        "TrainState(…, name=…)"
    )
    assert said(state) == [line]
    scheduler = schedules.StepLR(state.optimizer, 2)  # it steps, and trains nothing
    state = TrainState(state.model, state.optimizer, scheduler=scheduler)
    step_both(state, second)
    assert said(state) == [line]
    state, second = two_optimizers()
    state.parts["second"] = second
    step_both(state, second)
    assert said(state) == []


def test_who_writes_into_parameters_without_training_them():
    state, second = two_optimizers()
    step(state)  # there are gradients of all, and one optimizer steps
    saved = copy.deepcopy(state.state_dict())
    state.load_state_dict(saved)
    assert said(state) == []
    state.model[1].requires_grad_(False)
    step_both(state, second)
    state.model[1].requires_grad_(False)
    assert not any("trained by" in line for line in said(state))


def test_an_optimizer_inside_an_object_may_train_what_seems_untended():
    state, second = two_optimizers()
    wrapped = Own(step=second.step, state_dict=dict, load_state_dict=len)
    state = TrainState(state.model, state.optimizer, wrapped=wrapped)
    step_both(state, second)
    assert said(state) == []


def test_what_is_written_where_there_was_no_gradient_is_not_training():
    """As the slow copy of a network is, from the network's own values."""
    state, _ = two_optimizers()
    step(state, state.model[0])
    with torch.no_grad():
        state.model[1].weight.add_(1)
    step(state, state.model[0])
    assert said(state) == []


def test_a_module_that_counts_steps_is_neither_optimizer_nor_scheduler():
    state, second = two_optimizers()
    state.model.step = 0
    state = TrainState(state.model, state.optimizer)
    schedules.StepLR(state.optimizer, 2)
    step_both(state, second)
    assert ["a scheduler" in line or "trained by" in line for line in said(state)] == [True] * 2


def test_one_parameter_is_named_alone():
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2, bias=False))
    second = torch.optim.SGD(model[1].parameters(), lr=0.1)
    state = TrainState(model, torch.optim.SGD(model[0].parameters(), lr=0.1))
    step_both(state, second)
    (line,) = said(state)
    assert line.startswith("- 1.weight: trained by an optimizer that is no part")


# Refused, or restored as it was


@pytest.mark.parametrize(
    ("parts", "words"),
    [
        ({"sampler": RandomSampler([1])}, "sampler: a RandomSampler .*use a ResumableSampler"),
        ({"sampler": DataLoader([1], generator=torch.Generator())}, "a SequentialSampler"),
        ({"scheduler": Own(step=1)}, "scheduler: a Own has no state_dict and load_state_dict"),
        ({"scaler": Own(state_dict=dict)}, "scaler: a Own has no state_dict"),
    ],
)
def test_what_has_no_state_is_refused_when_the_run_is_built(parts, words):
    with pytest.raises(TypeError, match=words):
        new_state(**parts)


@pytest.mark.parametrize(
    "value", [np.longdouble(1), np.datetime64("2024-01-01T00:00:00.000000001"), np.void(b"ab")]
)
def test_numbers_of_numpy_that_python_does_not_have_are_refused(value):
    with pytest.raises(CheckpointWriteError, match=r"mine is a numpy\..*one of Python's numbers"):
        new_state(mine=value).state_dict()


def test_numbers_of_numpy_keep_their_type_wherever_they_are():
    value = {"a.b": [np.float32(0.1), (np.int8(-3), 2)], 4: np.bool_(True), "s": {np.int64(1)},
             "t": np.str_("x"), "w": np.longlong(5), "c": np.complex64(1j)}  # fmt: skip
    state = new_state(mine=value)
    saved = copy.deepcopy(state.state_dict())
    assert type(saved["mine"]["a.b"][0]) is float
    again = new_state(mine=None)
    again.load_state_dict(saved)
    assert repr(again.parts["mine"]) == repr(value | {"s": {1}, "w": np.int64(5)})
    assert differences(again.state_dict()["about"], saved["about"]) == []


def test_a_note_of_numpys_that_fits_no_number_changes_nothing():
    saved = copy.deepcopy(new_state(mine=[np.float32(1), 2]).state_dict())
    saved["mine"] = ["text", 2]
    saved["about"]["numpy"] |= {"mine.1": "no number", "other": "float32"}
    again = new_state(mine=None)
    again.load_state_dict(saved)
    assert again.parts["mine"] == ["text", 2]


def lazy():
    model = nn.Sequential(nn.LazyLinear(2), nn.LazyBatchNorm1d())
    return TrainState(model, torch.optim.SGD(model.parameters(), lr=0.1), last=Place())


def test_a_lazy_layer_gets_its_shape_by_loading_and_cannot_be_put_back():
    state = lazy()
    state.model(torch.rand(4, 3)).sum().backward()
    saved, again = copy.deepcopy(state.state_dict()), lazy()
    assert len(saved["gradients"]) == 4
    again.load_state_dict(saved)
    assert differences(saved, again.state_dict()) == []

    def fail(state):
        raise OSError("gone")

    other = lazy()
    other.scheduler = Place(load_state_dict=fail)
    with pytest.raises(MismatchedCheckpointError, match=r"gone.*model could not be put back"):
        other.load_state_dict({**saved, "scheduler": {}})


class Grouped(torch.optim.SGD):
    def step(self, closure=None):
        self.param_groups[0]["count"] = self.param_groups[0].get("count", 0) + 1
        super().step()


def test_what_steps_have_added_to_groups_is_restored_and_another_kind_is_still_refused():
    def new(kind):
        model = nn.Linear(2, 2)
        return TrainState(model, kind(model.parameters(), lr=0.1))

    first = new(Grouped)
    step(first)
    saved = copy.deepcopy(first.state_dict())
    again = new(Grouped)
    again.load_state_dict(saved)
    step(again)
    assert again.optimizer.param_groups[0]["count"] == 2
    third = new(Grouped)
    third.load_state_dict(copy.deepcopy(again.state_dict()))
    assert third.optimizer.param_groups[0]["count"] == 2
    with pytest.raises(MismatchedCheckpointError, match="another kind of optimizer"):
        new(torch.optim.Rprop).load_state_dict(saved)
    del saved["about"]["settings"]
    with pytest.raises(MismatchedCheckpointError, match="no setting count"):
        new(Grouped).load_state_dict(saved)

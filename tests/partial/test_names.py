"""Keys are matched under wrappers and prefixes, and never two onto one."""

import pytest
import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel

from course_utils.errors import MismatchedCheckpointError
from course_utils.lessons.models import MLP
from course_utils.partial.names import match_keys, recognised

KEYS = list(MLP().state_dict())


def keys(*names):
    return {name: name for name in names}


@pytest.mark.parametrize(
    "wrapped",
    [
        nn.DataParallel(MLP()),
        torch.compile(MLP()),
        torch.compile(nn.DataParallel(MLP())),
        nn.DataParallel(torch.compile(MLP())),
        AveragedModel(MLP()),
    ],
    ids=["data parallel", "compiled", "compiled, parallel", "parallel, compiled", "averaged"],
)
def test_wrappers_are_recognised_in_both_directions(wrapped):
    there = match_keys(wrapped.state_dict(), KEYS)
    assert set(KEYS) <= set(there.values())
    back = match_keys(KEYS, wrapped.state_dict())
    assert set(back.values()) <= set(wrapped.state_dict())
    assert len(back) == len(KEYS)


def test_a_compiled_submodule_is_recognised():
    model = MLP()
    model.features = torch.compile(model.features)
    source = list(model.state_dict())
    assert "features._orig_mod.1.weight" in source
    assert set(match_keys(source, KEYS).values()) == set(KEYS)


@pytest.mark.parametrize("prefix", ["model.", "state_dict.", "model.module.", "net.backbone."])
def test_one_leading_prefix_is_recognised(prefix):
    source = [prefix + key for key in KEYS]
    assert match_keys(source, KEYS) == dict(zip(source, KEYS, strict=True))
    assert match_keys(KEYS, source) == dict(zip(KEYS, source, strict=True))


def test_a_prefix_that_the_model_has_inside_too():
    source, target = ["model.model.weight", "model.weight"], ["model.weight", "weight"]
    assert match_keys(source, target) == dict(zip(source, target, strict=True))


def test_keys_beside_the_prefix_keep_their_names():
    source = [*("model." + key for key in KEYS), "optimizer.state.0.exp_avg"]
    assert match_keys(source, KEYS)["optimizer.state.0.exp_avg"] == "optimizer.state.0.exp_avg"


def test_two_equally_good_prefixes_are_not_guessed_between():
    source = [prefix + key for prefix in ("model.", "ema.") for key in KEYS]
    assert recognised(source, KEYS) == {}


def test_keys_that_match_already_are_left_alone():
    assert recognised(KEYS, KEYS) == {}
    assert recognised(["module.a", "b.module.a"], ["module.a", "b.module.a"]) == {}


def test_a_model_that_has_such_names_itself_is_left_alone():
    target = ["weight", "module.weight"]
    assert recognised(["_orig_mod.weight"], target) == {}


@pytest.mark.parametrize(
    ("rename", "expected"),
    [
        ({}, keys("a.x", "b.x")),
        ({"a.x": "c"}, {"a.x": "c", "b.x": "b.x"}),
        ([(r"^a\.", "c."), (r"x$", "y")], {"a.x": "c.y", "b.x": "b.y"}),
        (lambda key: None if key.startswith("a") else key.upper(), {"b.x": "B.X"}),
    ],
    ids=["none", "mapping", "patterns", "function"],
)
def test_three_ways_to_rename(rename, expected):
    assert match_keys(["a.x", "b.x"], ["weight"], rename) == expected


@pytest.mark.parametrize(
    ("source", "rename"),
    [
        (["a.x", "b.x"], {"a.x": "b.x"}),
        (["a.x", "b.x"], [(r"^\w\.", "")]),
        (["a.x", "b.x"], lambda key: "x"),
        (["module.x", "_orig_mod.x"], None),
    ],
)
def test_two_keys_onto_one_are_refused(source, rename):
    with pytest.raises(MismatchedCheckpointError, match=r"both be loaded into '[bx.]*'"):
        match_keys(source, ["x"], rename)


def test_a_mapping_with_a_misspelt_key_is_refused():
    with pytest.raises(MismatchedCheckpointError, match=r"did you mean 'head\.weight'"):
        match_keys(KEYS, KEYS, {"head.wieght": "fc.weight"})

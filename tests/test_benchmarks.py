"""Benchmarks are run by hand; what they call changes, so each way that is timed is tried here."""

import pytest
import torch
from torch import nn

from benchmarks import restoring


@pytest.fixture
def saved(tmp_path, monkeypatch):
    monkeypatch.setitem(restoring.STATES, "tiny", lambda: {"a": torch.ones(3), "b": torch.ones(2)})
    restoring._save(tmp_path, "tiny")
    return tmp_path


def test_each_way_to_restore_ends_with_the_same_model(saved):
    for name in restoring.ways(saved, nn.ParameterList()):
        model = nn.ParameterList([torch.zeros(3), torch.zeros(2)])
        restoring.ways(saved, model)[name]()
        filled = [bool(parameter.eq(1).all()) for parameter in model]
        assert filled == [name != restoring.FLOOR] * 2, name


def test_a_whole_run_is_timed(saved):
    assert restoring._whole_run(saved, "tiny").keys() == {restoring.PARTS, restoring.OURS}

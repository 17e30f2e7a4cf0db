"""Names in a sharded checkpoint: without what wrappers add, and the same for every run."""

import pytest
import torch
from torch import nn

from course_utils.distributed import ShardedRun, load_sharded, load_sharded_model, save_sharded
from course_utils.errors import CheckpointWriteError, MismatchedCheckpointError
from course_utils.resume import ResumableSampler, differences

pytestmark = pytest.mark.filterwarnings("ignore:torch.distributed is disabled")


class Versioned(nn.Linear):
    """A layer that asks a state for its version, as BatchNorm does."""

    _version = 3

    def _load_from_state_dict(self, state, prefix, metadata, *others):
        self.found = metadata.get("version")
        super()._load_from_state_dict(state, prefix, metadata, *others)


def inside(layer):
    """A layer in something that wraps it, as `torch.compile` of one layer does."""
    return nn.ModuleDict({"_orig_mod": layer})


def new_run(seed, wrap=lambda layer: layer):
    torch.manual_seed(seed)
    model = nn.ModuleDict({"first": wrap(Versioned(2, 2)), "second": nn.Linear(2, 2)})
    run = ShardedRun(model, torch.optim.Adam(model.parameters()), ResumableSampler(2))
    for parameter in model.parameters():
        parameter.grad = torch.rand_like(parameter)
    run.optimizer.step()
    for parameter in model.parameters():
        parameter.grad = torch.rand_like(parameter)
    return run


@pytest.mark.parametrize("here", [inside, lambda layer: layer])
@pytest.mark.parametrize("there", [inside, lambda layer: layer])
def test_a_layer_wrapped_on_one_side_only(tmp_path, there, here):
    run, again, used = new_run(0, there), new_run(9, here), new_run(9, here).model
    save_sharded(tmp_path, 1, run)
    load_sharded(tmp_path, again)
    load_sharded_model(tmp_path, used)
    for part in ("model", "gradients"):
        one, other = ([*each.state_dict()[part].values()] for each in (run, again))
        assert differences(one, other) == []
    assert differences(run.state_dict()["optimizer"], again.state_dict()["optimizer"]) == []
    assert differences([*run.model.parameters()], [*used.parameters()]) == []
    for model in (again.model, used):
        (layer,) = (module for module in model.modules() if isinstance(module, Versioned))
        assert layer.found == 3


def test_two_names_that_are_one_without_wrappers_are_refused_when_saved(tmp_path):
    run = new_run(0, inside)
    run.model["first"].weight = nn.Parameter(torch.ones(2, 2))
    with pytest.raises(CheckpointWriteError, match=r"model: first\._orig_mod\.weight and another"):
        save_sharded(tmp_path, 1, run)
    assert not any(tmp_path.iterdir())


def with_empty_groups(seed, *rates):
    torch.manual_seed(seed)
    model = nn.Linear(2, 2)
    empty = [{"params": [], "lr": rate} for rate in rates]
    optimizer = torch.optim.SGD([{"params": model.parameters()}, *empty], lr=0.1)
    return ShardedRun(model, optimizer, ResumableSampler(2))


def test_groups_that_hold_the_same_are_told_apart_by_their_place(tmp_path):
    save_sharded(tmp_path, 1, with_empty_groups(0, 0.2, 0.3))
    again = with_empty_groups(9, 0.2, 0.3)
    load_sharded(tmp_path, again)
    assert [group["lr"] for group in again.optimizer.param_groups] == [0.1, 0.2, 0.3]
    with pytest.raises(MismatchedCheckpointError, match="groups hold other parameters"):
        load_sharded(tmp_path, with_empty_groups(9, 0.2))

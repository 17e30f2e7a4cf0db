"""Tags are read without loading, wishes are checked before loading, state follows parameters."""

from pathlib import Path
from unittest import mock

import pytest
import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode

from course_utils.checkpoint.torch_versions import version
from course_utils.devices.map_location import (
    move_optimizer,
    resolve_map_location,
    storage_locations,
)
from course_utils.errors import MissingDeviceError
from course_utils.lessons.models import MLP

GPU_FILE = Path(__file__).parents[2] / "notebooks/data/saved_on_gpu.pt"
without_gpu = pytest.mark.skipif(torch.cuda.is_available(), reason="shows what a CPU machine does")


@pytest.fixture
def gpus(monkeypatch):
    """Two GPUs, as far as torch's questions go."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)


@pytest.fixture
def cpu_file(tmp_path):
    torch.save(MLP().state_dict(), tmp_path / "cpu.pt")
    return tmp_path / "cpu.pt"


def devices_of(path, map_location):
    """Where torch would put each tensor, without having the devices."""
    with FakeTensorMode():
        state = torch.load(path, map_location=map_location)["model"]
    return {str(tensor.device) for tensor in state.values()}


def test_tags_with_their_tensors_without_loading():
    with mock.patch("torch.load", side_effect=AssertionError):
        locations = storage_locations(GPU_FILE)
    assert set(locations) == {"cuda:0", "cpu"}
    assert locations["cpu"] == [f"optimizer.state.{i}.step" for i in range(6)]
    assert "model.1.num_batches_tracked" in locations["cuda:0"]


# Problem 5: a CUDA file on a CPU machine


@without_gpu
def test_a_cuda_file_wrong_way_and_right_way():
    with pytest.raises(RuntimeError, match="Attempting to deserialize object on a CUDA device"):
        torch.load(GPU_FILE)  # and so no later .to("cpu") is ever reached
    with pytest.raises(MissingDeviceError, match=r"'cuda:0'.*this machine has none.*'cpu'"):
        resolve_map_location(None, GPU_FILE)
    state = torch.load(GPU_FILE, map_location=resolve_map_location("cpu", GPU_FILE))
    assert state["model"]["0.weight"].device.type == "cpu"


@without_gpu
@pytest.mark.parametrize(
    "policy",
    [
        "cuda",
        "cuda:1",
        torch.device("cuda"),
        "xpu",
        {"cuda:1": "cpu"},
        {},
        {"cuda:0": "cuda:1", "cpu": "cpu"},
        None,
        1,
        "gpu",
    ],
    ids=str,
)
def test_what_torch_refuses_is_refused_before_loading(policy):
    with pytest.raises((RuntimeError, TypeError)):
        torch.load(GPU_FILE, map_location=policy)
    with pytest.raises(MissingDeviceError):
        resolve_map_location(policy, GPU_FILE)


@without_gpu
@pytest.mark.parametrize(
    "policy",
    ["cpu", torch.device("cpu"), "meta", {"cuda:0": "cpu"}, lambda storage, tag: storage],
    ids=["string", "device", "meta", "dict", "function"],  # the same in every process
)
def test_what_torch_accepts_is_accepted(policy):
    state = torch.load(GPU_FILE, map_location=resolve_map_location(policy, GPU_FILE))
    wanted = "meta" if policy == "meta" else "cpu"
    assert state["model"]["0.weight"].device.type == wanted


@without_gpu
@pytest.mark.filterwarnings("error")
def test_the_cpu_need_not_be_named():
    assert resolve_map_location({"cuda:0": "cpu"}, GPU_FILE) == {"cuda:0": "cpu"}


@without_gpu
def test_a_function_that_returns_none_for_a_gpu_is_refused():
    def forgets(storage, tag):
        return storage if tag == "cpu" else None

    with pytest.raises(MissingDeviceError, match="tag 'cuda:0', for which map_location returned"):
        torch.load(GPU_FILE, map_location=resolve_map_location(forgets, GPU_FILE))


def test_a_rank_is_no_device():
    with pytest.raises(MissingDeviceError, match="is written 'cuda:1'"):
        resolve_map_location(1, GPU_FILE)


def test_a_dict_that_misses_a_tag_warns(gpus):
    with pytest.warns(UserWarning, match=r"does not name the tag 'cuda:0'; its tensors stay on"):
        resolve_map_location({"cuda:1": "cpu"}, GPU_FILE)


def test_a_number_beyond_the_machine(gpus):
    assert resolve_map_location("cuda:1", GPU_FILE) == torch.device("cuda:1")
    with pytest.raises(MissingDeviceError, match="this machine has 2 of that kind"):
        resolve_map_location("cuda:2", GPU_FILE)


def test_a_cpu_file_goes_anywhere(cpu_file):
    assert resolve_map_location(None, cpu_file) == {"cpu": "cpu"}


# Problem 6: every rank loads to cuda:0


@pytest.mark.parametrize("rank", ["0", "1"])
@pytest.mark.skipif(version() < (2, 7), reason="PyTorch 2.6 asks the GPU even to load for show")
def test_local_rank_wrong_way_and_right_way(rank, gpus, monkeypatch):
    monkeypatch.setenv("LOCAL_RANK", rank)
    assert devices_of(GPU_FILE, None) == {"cuda:0"}  # wrong: whatever the rank
    place = resolve_map_location("local rank", GPU_FILE)
    assert devices_of(GPU_FILE, place) == {f"cuda:{rank}"}


@without_gpu
def test_local_rank_without_gpus_is_the_cpu(monkeypatch):
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert resolve_map_location("local rank", GPU_FILE) == torch.device("cpu")


def test_local_rank_outside_torchrun(monkeypatch):
    monkeypatch.delenv("LOCAL_RANK", raising=False)
    with pytest.raises(MissingDeviceError, match="start the program with torchrun"):
        resolve_map_location("local rank", GPU_FILE)


# Problems 7 and 8: the optimizer's state. The meta device stands in for a GPU.


def stepped(kind=torch.optim.Adam, **options):
    model = nn.Linear(2, 2)
    optimizer = kind(model.parameters(), lr=0.1, **options)

    def closure():
        optimizer.zero_grad()
        loss = model(torch.ones(1, 2)).square().sum()
        loss.backward()
        return loss

    optimizer.step(closure)
    return model, optimizer


def with_parameters_on_meta(optimizer):
    """The same optimizer after its model has moved: parameters there, state still here."""
    for group in optimizer.param_groups:
        for i, parameter in enumerate(group["params"]):
            moved = nn.Parameter(parameter.detach().to("meta"))
            if parameter in optimizer.state:
                optimizer.state[moved] = optimizer.state.pop(parameter)
            group["params"][i] = moved
    return optimizer


def state_devices(optimizer):
    (first, *_rest) = optimizer.param_groups[0]["params"]
    return {k: v.device.type for k, v in optimizer.state[first].items() if torch.is_tensor(v)}


@pytest.mark.parametrize(
    ("options", "step"),
    [({}, "cpu"), ({"fused": True}, "meta"), ({"capturable": True}, "meta")],
)
def test_state_follows_and_step_only_where_it_must(options, step):
    _, optimizer = stepped()
    with_parameters_on_meta(optimizer)
    optimizer.param_groups[0].update(options)
    assert set(state_devices(optimizer).values()) == {"cpu"}  # wrong: left behind
    move_optimizer(optimizer)
    assert state_devices(optimizer) == {"step": step, "exp_avg": "meta", "exp_avg_sq": "meta"}


def test_state_in_lists_follows_too():
    _, optimizer = stepped(torch.optim.LBFGS, max_iter=3)
    with_parameters_on_meta(optimizer)
    move_optimizer(optimizer)
    (state,) = [state for state in optimizer.state.values() if state]
    assert state["old_dirs"]
    assert {t.device.type for t in [state["d"], *state["old_dirs"]]} == {"meta"}


@without_gpu
def test_capturable_wrong_way_and_right_way():
    """A file saved with capturable=True, as CUDA graphs need, continued on the CPU."""
    model, optimizer = stepped()
    saved = optimizer.state_dict()
    saved["param_groups"][0]["capturable"] = True
    optimizer.load_state_dict(saved)
    with pytest.raises(AssertionError, match="capturable=True, params and state_steps must be on"):
        optimizer.step()
    before = model.weight.detach().clone()
    move_optimizer(optimizer)
    optimizer.step()
    assert not torch.equal(model.weight, before)


def test_loading_casts_moments_to_the_parameters_dtype_but_not_step():
    """Problem 21: in float16 small second moments become zero, and the next step explodes."""
    source = nn.Linear(2, 2)
    optimizer = torch.optim.Adam(source.parameters())
    (source(torch.ones(1, 2)) * 1e-4).sum().backward()
    optimizer.step()
    exact = optimizer.state[source.bias]["exp_avg_sq"]
    for dtype, survives in [(torch.float16, False), (torch.bfloat16, True)]:
        model = nn.Linear(2, 2).to(dtype)
        narrow = torch.optim.Adam(model.parameters())
        narrow.load_state_dict(optimizer.state_dict())
        state = narrow.state[model.bias]
        assert state["step"].dtype == torch.float32
        assert state["exp_avg_sq"].dtype == dtype
        assert exact.all()
        assert bool(state["exp_avg_sq"].all()) is survives


def test_a_fresh_optimizer_has_nothing_to_move():
    optimizer = torch.optim.Adam(nn.Linear(2, 2).parameters())
    move_optimizer(optimizer)
    assert not optimizer.state


@without_gpu
def test_the_gpu_checkpoint_continues_here():
    state = torch.load(GPU_FILE, map_location="cpu")
    model = nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(),
        nn.Linear(512, 10),
    )  # fmt: skip
    model.load_state_dict(state["model"])
    optimizer = torch.optim.Adam(model.parameters())
    optimizer.load_state_dict(state["optimizer"])
    move_optimizer(optimizer)
    with torch.no_grad():
        logits = model.eval()(state["check"]["images"])
    assert torch.allclose(logits, state["check"]["logits"], atol=1e-5)
    model.train()(state["check"]["images"]).sum().backward()
    optimizer.step()
    assert {s["step"].item() for s in optimizer.state.values()} == {121}

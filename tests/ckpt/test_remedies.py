"""Every remedy that the doctor names, tried on the file that it named it for."""

import copy
import io
import os
import subprocess
import sys
from unittest import mock

import hostile
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn
from torch.nn.modules.utils import consume_prefix_in_state_dict_if_present
from torch.optim.swa_utils import AveragedModel
from training import training_state

from course_utils.ckpt.doctor import examine
from course_utils.ckpt.main import main
from course_utils.formats.verify import Severity


@pytest.fixture
def save(tmp_path):
    def save(state, name="a.pt"):
        torch.save(state, tmp_path / name)
        return str(tmp_path / name)

    return save


@pytest.fixture
def out(tmp_path):
    return str(tmp_path / "out.pt")


def remedy(path, topic, what=""):
    """The one remedy of a topic, which must be named for the file."""
    (found,) = (c.remedy for c in examine(path) if c.topic == topic and what in c.what)
    return found


def is_cured(path, topic, what=""):
    return not any(c.topic == topic and what in c.what for c in examine(path))


def model():
    torch.manual_seed(1)
    return nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3))


@pytest.mark.parametrize("nested", [False, True])
@pytest.mark.parametrize(
    "state",
    [nn.DataParallel(model()).state_dict(), torch.compile(model()).state_dict()],
    ids=["parallel", "compiled"],
)
def test_strip_prefix(save, out, state, nested):
    path = save({"model": state, "epoch": 1} if nested else state)
    assert "`ckpt strip-prefix`" in remedy(path, "prefix")
    assert main(["strip-prefix", path, out]) == 0
    loaded = torch.load(out)
    model().load_state_dict(loaded["model"] if nested else loaded)
    assert is_cured(out, "prefix")


def test_saving_what_is_inside_the_wrapper(save):
    wrapper = nn.DataParallel(model())
    path = save(wrapper.state_dict())
    assert "module inside the wrapper" in remedy(path, "prefix")
    assert is_cured(save(wrapper.module.state_dict()), "prefix")


def test_consuming_a_prefix_in_one_part(save):
    ema = AveragedModel(model())
    path = save({"model": nn.DataParallel(model()).state_dict(), "ema": ema.state_dict()})
    assert "consume_prefix_in_state_dict_if_present" in remedy(path, "prefix")
    state = torch.load(path)
    consume_prefix_in_state_dict_if_present(state["model"], "module.")
    model().load_state_dict(state["model"])
    ema.load_state_dict(state["ema"])
    assert is_cured(save(state), "prefix")


def test_consuming_a_prefix_in_a_safetensors_file(tmp_path):
    path = tmp_path / "a.safetensors"
    save_file(nn.DataParallel(nn.Linear(2, 2)).state_dict(), path)
    assert "consume_prefix_in_state_dict_if_present" in remedy(path, "prefix")
    state = load_file(path)
    consume_prefix_in_state_dict_if_present(state, "module.")
    nn.Linear(2, 2).load_state_dict(state)


def test_slim_and_clone(save, out):
    part = torch.rand(100_000)[:5]
    path = save({"a": part, "n": 3})
    assert remedy(path, "slice") == "`ckpt slim`, or save a .clone() of it"
    assert main(["slim", path, out]) == 0
    assert is_cured(out, "slice")
    assert os.path.getsize(out) < os.path.getsize(path) / 50
    assert is_cured(save({"a": part.clone(), "n": 3}), "slice")


def test_a_deep_copy(save):
    state = model().state_dict()
    path = save({"model": state, "best": state})
    assert "copy.deepcopy(model.state_dict())" in remedy(path, "live reference")
    assert is_cured(save({"model": state, "best": copy.deepcopy(state)}), "live reference")


def test_the_same_tensor_twice(save):
    path = save({"a": torch.arange(9999), "b": torch.arange(9999)})
    assert "the same tensor in both places" in remedy(path, "stored twice")
    same = torch.arange(9999)
    assert is_cured(save({"a": same, "b": same}), "stored twice")


def test_map_location(save):
    with mock.patch.object(torch.serialization, "location_tag", return_value="cuda:0"):
        path = save({"w": torch.ones(2)})
    assert remedy(path, "device") == 'load with map_location="cpu"'
    if not torch.cuda.is_available():
        with pytest.raises(RuntimeError, match="CUDA"):
            torch.load(path)
    assert torch.load(path, map_location="cpu")["w"].tolist() == [1, 1]


def test_giving_values(save):
    with torch.device("meta"):
        bare = nn.Linear(2, 2)
    path = save(bare.state_dict())
    assert "to_empty(device=…), then load" in remedy(path, "device")
    whole = bare.to_empty(device="cpu")
    whole.load_state_dict(nn.Linear(2, 2).state_dict())
    assert is_cured(save(whole.state_dict()), "device")


def test_mixed_dtypes_load_as_the_doctor_says(save):
    path = save({"weight": torch.ones(2, 2).half(), "bias": torch.ones(2)})
    assert "assign=True keeps the file's dtypes, and plain load_state_dict the model's" in remedy(
        path, "dtypes"
    )
    for assign, dtype in ((True, torch.float16), (False, torch.float32)):
        layer = nn.Linear(2, 2)
        layer.load_state_dict(torch.load(path), assign=assign)
        assert layer.weight.dtype == dtype


def test_the_mark_of_assign(save):
    state = nn.Linear(2, 2).state_dict()
    nn.Linear(2, 2).load_state_dict(state, assign=True)
    path = save(state)
    advice = remedy(path, "assign")
    state_dict = torch.load(path)
    before = nn.Linear(2, 2)
    weight = before.weight
    before.load_state_dict(state_dict)
    assert before.weight is not weight  # what the doctor warns of: its optimizer would be cut off
    exec(advice.partition(": ")[2], {"state_dict": state_dict})
    after = nn.Linear(2, 2)
    weight = after.weight
    after.load_state_dict(state_dict)
    assert after.weight is weight
    assert is_cured(save(state_dict), "assign")


def test_safe_globals(save, tmp_path):
    from types import SimpleNamespace

    path = save({"w": torch.ones(2), "config": SimpleNamespace(lr=0.1)})
    advice = remedy(path, "safety")
    assert "safe_globals" in advice
    with torch.serialization.safe_globals([SimpleNamespace]):
        assert torch.load(path)["config"].lr == 0.1
    assert "ckpt convert" in advice
    assert main(["convert", path, str(tmp_path / "a.safetensors")]) == 0
    assert load_file(tmp_path / "a.safetensors")["w"].tolist() == [1, 1]


def test_converting_what_would_run_code(tmp_path):
    path, marker = tmp_path / "x.pt", tmp_path / "marker"
    evil = hostile.payloads(marker)["reduce"]
    pickle = b"\x80\x02}(" + hostile.text("w") + hostile.tensor() + hostile.text("x") + evil + b"u."
    path.write_bytes(hostile.zip_checkpoint(pickle))
    assert "ckpt convert" in remedy(path, "safety")
    assert main(["convert", str(path), str(tmp_path / "a.safetensors")]) == 0
    assert list(load_file(tmp_path / "a.safetensors")) == ["w"]
    assert not marker.exists()


def test_full_tensors_instead_of_dtensors(tmp_path):
    program = tmp_path / "program.py"
    program.write_text(DTENSORS)
    paths = [str(tmp_path / name) for name in ("pieces.pt", "full.pt", "by_options.pt")]
    environment = os.environ | {"GLOO_SOCKET_IFNAME": "lo"}
    subprocess.run([sys.executable, program, *paths], check=True, env=environment)
    advice = remedy(paths[0], "dtensor")
    assert "StateDictOptions(full_state_dict=True)" in advice
    assert "full_tensor()" in advice
    for path in paths[1:]:
        assert is_cured(path, "dtensor")
        assert torch.load(path)["weight"].tolist() == [[1.0, 2.0], [3.0, 4.0]]


DTENSORS = """
import os, sys, tempfile
import torch, torch.distributed as dist
from torch import nn
from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import Shard, distribute_tensor

store = dist.FileStore(tempfile.mktemp(), 1)
dist.init_process_group("gloo", store=store, rank=0, world_size=1)
mesh = init_device_mesh("cpu", (1,))
layer = nn.Linear(2, 2, bias=False)
weight = distribute_tensor(torch.tensor([[1.0, 2.0], [3.0, 4.0]]), mesh, [Shard(0)])
layer.weight = nn.Parameter(weight)
torch.save(layer.state_dict(), sys.argv[1])
torch.save({"weight": layer.weight.detach().full_tensor()}, sys.argv[2])
torch.save(get_model_state_dict(layer, options=StateDictOptions(full_state_dict=True)), sys.argv[3])
dist.destroy_process_group()
sys.stdout.flush()
os._exit(0)
"""


def test_loading_what_the_doctor_does_not_read(save):
    path = save({"s": torch.eye(2).to_sparse()})
    assert remedy(path, "not read") == "load them with torch to see them"
    assert torch.load(path)["s"].to_dense().tolist() == [[1, 0], [0, 1]]


PARTS = {
    "optimizer's": "optimizer",
    "scheduler's": "scheduler",
    "random number": "rng",
    "step or epoch": "epoch",
}


@pytest.mark.parametrize("words", PARTS)
def test_saving_what_is_missing(save, words):
    state = training_state()
    part = state.pop(PARTS[words])
    path = save(state)
    assert "save" in remedy(path, "resume", words)
    assert is_cured(save(state | {PARTS[words]: part}), "resume", words)


def test_an_earlier_checkpoint(save):
    good = save({"w": torch.ones(2)}, "earlier.pt")
    bad = save({"w": torch.tensor([1.0, float("nan")])})
    assert "checkpoint from before" in remedy(bad, "not finite")
    assert examine(good) == []
    with open(bad, "r+b") as file:
        file.seek(-30, io.SEEK_END)
        file.write(b"\0")
    damaged = [c for c in examine(bad) if c.severity is Severity.ERROR]
    assert all(c.remedy == "use an earlier checkpoint" for c in damaged)

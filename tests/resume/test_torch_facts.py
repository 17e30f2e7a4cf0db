"""Facts of PyTorch that the lessons tell, which change with its versions; run by the table too."""

import subprocess
import sys
import warnings

import pytest
import torch
import torch.distributed.checkpoint

from course_utils.checkpoint.torch_versions import version
from course_utils.ckpt.doctor import examine

NESTED = """
import io, sys, torch, torch._dynamo  # without it no torch loads jagged tensors safely
nested = torch.nested.nested_tensor([torch.ones(2), torch.ones(3)], layout=eval(sys.argv[1]))
torch.save(nested, file := io.BytesIO())
try:
    print(torch.load(io.BytesIO(file.getvalue()), weights_only=True).is_nested)
except Exception as error:
    print(str(error).partition(".")[0])
"""


@pytest.mark.parametrize("layout", [torch.strided, torch.jagged], ids=str)
def test_nested_tensors_are_no_longer_loaded_safely_from_2_15_on(layout):
    """In a fresh process: torch keeps what it allows from its first load on."""
    command = [sys.executable, "-W", "ignore", "-c", NESTED, str(layout)]
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert printed == ("Weights only load failed\n" if version() >= (2, 15) else "True\n")


SPREAD = """
import sys, torch, torch.distributed as dist
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import DTensor, Shard
from torch.testing._internal.distributed.fake_pg import FakeStore
path = sys.argv[1]
dist.init_process_group("fake", store=FakeStore(), rank=0, world_size=2)
mesh = init_device_mesh("cpu", (2,))
torch.save(DTensor.from_local(torch.ones(2), mesh, [Shard(0)], run_check=False), path)
"""
ALONE = """
import sys, tempfile, torch, torch.distributed as dist, torch.distributed.tensor
place = tempfile.mkdtemp() + "/store"
dist.init_process_group("gloo", init_method="file://" + place, rank=0, world_size=1)
tensor = torch.load(sys.argv[1], weights_only=True)
print(tuple(tensor.shape), tensor.to_local().numel(), tensor.sum().to_local().item())
"""


def test_a_dtensor_binds_to_whatever_process_group_has_its_groups_name(tmp_path):
    """In a world of one, the sum of a tensor of four ones is that of one shard, without a word."""
    printed = ""
    for program in (SPREAD, ALONE):
        command = [sys.executable, "-W", "ignore", "-c", program, tmp_path / "spread.pt"]
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        printed = done.stdout
    assert printed == "(4,) 2 2.0\n"
    (found,) = [c for c in examine(tmp_path / "spread.pt") if c.topic == "dtensor"]
    assert "in a group of one a sum is that of one part" in found.what


LIST = """
import io, torch

class Names(list):
    pass

torch.save(Names([1]), file := io.BytesIO())
file.seek(0)
with torch.serialization.safe_globals([Names]):
    try:
        print(type(torch.load(file, weights_only=True)).__name__)
    except Exception as error:
        print(type(error).__name__)
"""


def test_a_list_of_ones_own_class_is_loaded_safely_by_2_14_alone():
    command = [sys.executable, "-W", "ignore", "-c", LIST]
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert printed == ("Names\n" if version() == (2, 14) else "UnpicklingError\n")


def test_the_index_of_a_distributed_checkpoint_has_six_properties_from_2_15_on():
    """PyTorch before it cannot unpickle them; `load_sharded` reads both."""
    properties = torch.distributed.checkpoint.metadata.TensorProperties()
    assert len(properties.__getstate__()) == (6 if version() >= (2, 15) else 5)


@pytest.mark.parametrize("call", [torch.jit.script, torch.jit.save], ids=["script", "save"])
def test_torchscript_warns_and_louder_with_each_version(call, tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        scripted = torch.jit.script(torch.nn.Linear(1, 1))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        call(*((scripted, tmp_path / "a.pt") if call is torch.jit.save else (torch.nn.ReLU(),)))
    said = {w.category for w in caught if "torch.jit" in str(w.message)}
    expected = {(2, 6): set(), (2, 13): {DeprecationWarning}}
    assert said == expected.get(version(), {FutureWarning})


EXPORTED = """
import io, pathlib, sys, zipfile, torch

class Touches:
    def __reduce__(self):
        return pathlib.Path.touch, (pathlib.Path(sys.argv[1]),)

program = torch.export.export(torch.nn.Linear(3, 2), (torch.rand(4, 3),))
torch.export.save(program, whole := io.BytesIO())
torch.save(((torch.rand(4, 3), Touches()), {}), samples := io.BytesIO())
with zipfile.ZipFile(whole) as source, zipfile.ZipFile(evil := io.BytesIO(), "w") as target:
    for name in source.namelist():
        is_sample = "sample_inputs" in name or "example_inputs" in name
        target.writestr(name, samples.getvalue() if is_sample else source.read(name))
evil.seek(0)
print(type(torch.export.load(evil)).__name__)
"""


def test_export_load_falls_back_to_an_unsafe_load_of_the_sample_inputs(tmp_path):
    command = [sys.executable, "-W", "ignore", "-c", EXPORTED, tmp_path / "marker"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert (done.stdout, (tmp_path / "marker").exists()) == ("ExportedProgram\n", True), done.stderr

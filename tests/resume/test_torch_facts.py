"""Facts of PyTorch that the lessons tell, which change with its versions; run by the table too."""

import subprocess
import sys

import pytest
import torch

from course_utils.checkpoint.torch_versions import version

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

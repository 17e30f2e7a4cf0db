"""What needs a process group, of one rank: each in a process of its own."""

import subprocess
import sys

BEGIN = """
import sys, torch, torch.distributed as dist
from pathlib import Path
from torch import nn
from course_utils.distributed import ShardedRun, load_sharded, save_sharded
from course_utils.errors import CheckpointWriteError
from course_utils.resume import ResumableSampler, TrainState, differences

folder = Path(sys.argv[1])
dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=0, world_size=1)
"""

# A process that ends with a group may abort: pytorch#190489.
END = """
import os
print(flush=True)
os._exit(0)
"""

IN_LISTS = """
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import distribute_tensor

model = nn.Linear(2, 2)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
spread = distribute_tensor(torch.ones(2, 2), init_device_mesh("cpu", (1,)))
optimizer.state[model.weight] = {"history": [{"at": (spread,)}]}
try:
    save_sharded(folder, 1, ShardedRun(model, optimizer, ResumableSampler(2)))
except CheckpointWriteError as error:
    print(error)
"""

WRAPPED = """
def new(seed, wrap, kind):
    torch.manual_seed(seed)
    model = wrap(nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2)))
    run = kind(model, torch.optim.Adam(model.parameters()), sampler=ResumableSampler(2))
    for _ in range(2):  # the second time, gradients wait
        if seed == 0:
            model(torch.ones(3, 2)).sum().backward()
            if not run.optimizer.state:
                run.optimizer.step()
                run.optimizer.zero_grad()
    return run

def bare(model):
    return model

for number, (there, here) in enumerate([(nn.parallel.DistributedDataParallel, bare),
                                        (bare, nn.parallel.DistributedDataParallel)]):
    run, again = new(0, there, TrainState), new(9, here, TrainState)
    again.load_state_dict(run.state_dict())
    run_2, again_2 = new(0, there, ShardedRun), new(9, here, ShardedRun)
    save_sharded(folder / str(number), 0, run_2)
    load_sharded(folder / str(number), again_2)
    for one, two in ((run, again), (run_2, again_2)):
        state = one.state_dict()
        print(list(state["model"])[0], differences(state["model"], two.state_dict()["model"]),
              differences(state["optimizer"], two.state_dict()["optimizer"]),
              differences(*([*each.state_dict()["gradients"].values()] for each in (one, two))))
"""


WAITING = """
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import distribute_tensor

mesh = init_device_mesh("cpu", (1,))
weight = nn.Parameter(distribute_tensor(torch.ones(2, 2), mesh))
model = nn.ParameterDict({"weight": weight})
run = TrainState(model, torch.optim.SGD(model.parameters(), lr=0.1))
for _ in range(2):  # a loop that drops its gradients
    weight.grad = distribute_tensor(torch.ones(2, 2), mesh)
    run.optimizer.step()
    run.optimizer.zero_grad()
weight.grad = distribute_tensor(torch.ones(2, 2), mesh)
print(list(run.state_dict().get("gradients", {})))
run.optimizer.step()
print(list(run.state_dict().get("gradients", {})))
weight.grad.to_local().add_(1)  # as FSDP accumulates
print(list(run.state_dict().get("gradients", {})))
"""


def printed(program, folder):
    command = [
        sys.executable,
        "-c",
        BEGIN + program + "\nimport os; print(flush=True); os._exit(0)",
    ]
    done = subprocess.run([*command, folder], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()[:-1]


def test_tensors_spread_over_ranks_inside_lists_are_refused_when_saved(tmp_path):
    (said,) = printed(IN_LISTS, tmp_path)
    assert "optimizer: SGD keeps tensors that are spread over ranks inside 'history'" in said
    assert "weight, which DCP cannot store" in said


def test_a_model_in_ddp_is_saved_bare_and_loaded_into_any(tmp_path):
    assert printed(WRAPPED, tmp_path) == ["0.weight [] [] []"] * 4


def test_a_gradient_that_is_spread_waits_once_its_local_part_is_written(tmp_path):
    assert printed(WAITING, tmp_path) == ["['weight']", "[]", "['weight']"]

"""FSDP2 and torch.distributed.checkpoint, with nothing of ours in between: lesson 08."""

import os
import sys
from concurrent.futures import Future
from typing import cast

import torch
import torch.distributed as dist
import torch.distributed.checkpoint as dcp
from torch.distributed.checkpoint.state_dict import get_state_dict, set_state_dict
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor
from torch.nn.functional import cross_entropy

from course_utils.lessons.data import digits
from course_utils.lessons.models import MLP


def main(folder: str, action: str) -> None:
    """Train five steps and save, or load: one rank's work."""
    dist.init_process_group("gloo")  # torchrun has set rank and world size in the environment
    rank, ranks = dist.get_rank(), dist.get_world_size()

    torch.manual_seed(0)  # all ranks must start from the same model
    model = MLP()
    for layer in (model.features, model.head, model):
        fully_shard(layer, mesh=init_device_mesh("cpu", (ranks,)))
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)

    if action != "load":
        images, labels = digits().tensors
        for _ in range(5):
            cross_entropy(model(images[rank::ranks]), labels[rank::ranks]).backward()
            optimizer.step()
            optimizer.zero_grad()

    model_state, optimizer_state = get_state_dict(model, optimizer)
    state = {"model": model_state, "optimizer": optimizer_state}
    if action == "save":
        dcp.save(state, checkpoint_id=folder)
    elif action == "save in the background":
        written = cast(Future[None], dcp.async_save(state, checkpoint_id=folder))
        print("training goes on")
        written.result()
    else:
        dcp.load(state, checkpoint_id=folder)  # fills the state, each rank its part
        set_state_dict(
            model, optimizer, model_state_dict=model_state, optim_state_dict=optimizer_state
        )

    weight = cast(DTensor, model.head.weight)  # knows its part and the whole
    print(f"holds {list(weight.to_local().shape)} of {list(weight.shape)},", end=" ")
    print(f"sum of the whole {weight.full_tensor().sum().item():.6f}")

    dist.barrier()  # pytorch#190489: about one gloo process in ten aborts while Python ends
    dist.destroy_process_group()
    sys.stdout.flush()
    os._exit(0)


if __name__ == "__main__":
    main(*sys.argv[1:])

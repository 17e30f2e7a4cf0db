"""The tiny run as a plain loop with FSDP2 and torch.distributed.checkpoint: lesson 10.

One rank is enough to see what is saved; lesson 08 has more of them.
"""

from typing import Any

import torch
import torch.distributed as dist
import torch.distributed.checkpoint as dcp
from torch import nn
from torch.distributed.checkpoint.state_dict import get_state_dict, set_state_dict
from torch.distributed.checkpoint.stateful import Stateful
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.optim import Optimizer
from torch.utils.data.distributed import DistributedSampler

from course_utils.lessons.frameworks.tiny_run import (
    AS_IT_IS,
    BATCH,
    EPOCHS,
    IMAGES,
    PER_EPOCH,
    REPAIRED,
    SAVE_AT,
    Attempt,
    TinyData,
    main,
    new_loader,
    new_model,
    new_optimizer,
)
from course_utils.resume.rng import RngState
from course_utils.resume.sampler import ResumableSampler


class App(Stateful):
    """Model and optimizer as DCP wants them."""

    def __init__(self, model: nn.Module, optimizer: Optimizer) -> None:
        self.model, self.optimizer = model, optimizer

    def state_dict(self) -> dict[str, Any]:
        """Return both, by name."""
        model, optimizer = get_state_dict(self.model, self.optimizer)
        return {"model": model, "optimizer": optimizer}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Put both back."""
        model, optimizer = state_dict["model"], state_dict["optimizer"]
        set_state_dict(
            self.model, self.optimizer, model_state_dict=model, optim_state_dict=optimizer
        )


class Epochs(DistributedSampler[Any]):
    """The usual sampler: an epoch's order follows from its number, and it knows no middle."""

    def advance(self, count: int) -> None:
        """Note nothing."""

    def next_epoch(self) -> None:
        """Go to the next epoch's order."""
        self.set_epoch(self.epoch + 1)


def train(attempt: Attempt) -> None:
    """Train, or go on where the folder of step 9 stands."""
    store = (attempt.folder / f"store {attempt.resume}").resolve()
    dist.init_process_group("gloo", init_method=f"file://{store}", rank=0, world_size=1)
    model = new_model()
    fully_shard(model, mesh=init_device_mesh("cpu", (1,)))
    optimizer, schedule = new_optimizer(model)
    attempt.watch(model, optimizer)

    sampler: Any = Epochs(TinyData(), num_replicas=1, rank=0)
    loader = new_loader(sampler)
    state: dict[str, Any] = {"app": App(model, optimizer)}
    if attempt.way == REPAIRED:
        sampler = ResumableSampler(IMAGES)
        loader = new_loader(sampler, torch.Generator())
        state |= {"schedule": schedule, "sampler": sampler, "rng": RngState()}

    step = 0
    if attempt.resume:
        dcp.load(state, checkpoint_id=attempt.folder / f"step-{SAVE_AT}")
        step = SAVE_AT
        if attempt.way != REPAIRED:
            sampler.set_epoch(step // PER_EPOCH)
    for _ in range(step // PER_EPOCH, EPOCHS):
        for batch in loader:
            model(**batch)["loss"].backward()
            optimizer.step()
            schedule.step()
            optimizer.zero_grad()
            step += 1
            sampler.advance(BATCH)
            if step == SAVE_AT:
                dcp.save(state, checkpoint_id=attempt.folder / f"step-{step}")
        sampler.next_epoch()
    attempt.end(model, optimizer)
    dist.destroy_process_group()


if __name__ == "__main__":
    main(train, AS_IT_IS, REPAIRED)

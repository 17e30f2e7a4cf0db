"""Made the folders beside this file; run by hand, here, under the PyTorch each is named after.

python make.py
"""

from pathlib import Path

import torch
from torch import nn

from course_utils.distributed import ShardedRun, save_sharded
from course_utils.resume import ResumableSampler


def new_run(value: float) -> ShardedRun:
    model = nn.Linear(2, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    run = ShardedRun(model, optimizer, ResumableSampler(9), tokens=int(value))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.fill_(value)
    model.weight.grad = torch.full((1, 2), 8.0)  # the bias never gets a gradient
    optimizer.step()
    optimizer.zero_grad()
    return run


if __name__ == "__main__":
    major, minor = torch.__version__.split(".")[:2]
    save_sharded(Path(f"torch_{major}_{minor}"), 2, new_run(3.0))

"""Reference answer of exercise 08.5."""

from pathlib import Path

import torch.distributed.checkpoint as dcp
from torch import nn


def fill(folder: Path, model: nn.Module) -> list[str]:
    """Fill a model; return the names in the folder that it does not have."""
    names = dcp.FileSystemReader(folder).read_metadata().state_dict_metadata
    there = {name.removeprefix("model.") for name in names if name.startswith("model.")}
    state = model.state_dict()
    if missing := state.keys() - there:
        raise KeyError(f"{folder} has no {', '.join(sorted(missing))}")
    dcp.load({"model": state}, checkpoint_id=folder)
    return sorted(there - state.keys())

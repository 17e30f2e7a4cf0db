"""Counts the optimizer's names among those that were passed over."""

import torch.distributed.checkpoint as dcp

MESSAGE = "names that were passed over are others"
CREDIT = 0.5


def fill(folder, model):
    names = dcp.FileSystemReader(folder).read_metadata().state_dict_metadata
    there = {name.removeprefix("model.") for name in names}
    state = model.state_dict()
    if state.keys() - there:
        raise KeyError
    dcp.load({"model": state}, checkpoint_id=folder)
    return sorted(there - state.keys())

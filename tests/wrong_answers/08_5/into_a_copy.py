"""Fills clones of the weights, and leaves them there."""

import torch.distributed.checkpoint as dcp

MESSAGE = "does not hold the folder's values"


def fill(folder, model):
    names = dcp.FileSystemReader(folder).read_metadata().state_dict_metadata
    there = {name.removeprefix("model.") for name in names if name.startswith("model.")}
    state = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    if state.keys() - there:
        raise KeyError
    dcp.load({"model": state}, checkpoint_id=folder)
    return sorted(there - state.keys())

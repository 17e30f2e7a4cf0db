"""Fills the parameters and forgets BatchNorm's buffers."""

import torch.distributed.checkpoint as dcp

MESSAGE = "does not hold the folder's values"


def fill(folder, model):
    names = dcp.FileSystemReader(folder).read_metadata().state_dict_metadata
    there = {name.removeprefix("model.") for name in names if name.startswith("model.")}
    if model.state_dict().keys() - there:
        raise KeyError
    dcp.load({"model": dict(model.named_parameters())}, checkpoint_id=folder)
    return sorted(there - model.state_dict().keys())

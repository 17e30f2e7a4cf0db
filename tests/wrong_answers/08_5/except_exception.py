"""Waits for an Exception, which DCP's is not."""

import torch.distributed.checkpoint as dcp

MESSAGE = "it is no Exception"


def fill(folder, model):
    names = dcp.FileSystemReader(folder).read_metadata().state_dict_metadata
    state = model.state_dict()
    try:
        dcp.load({"model": state}, checkpoint_id=folder)
    except Exception as error:
        raise KeyError from error
    there = {name.removeprefix("model.") for name in names if name.startswith("model.")}
    return sorted(there - state.keys())

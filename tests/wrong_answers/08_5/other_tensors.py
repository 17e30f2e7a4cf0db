"""Fills clones and assigns them: the model has new tensors."""

import torch.distributed.checkpoint as dcp

MESSAGE = "an optimizer made before trains the old"
CREDIT = 0.5


def fill(folder, model):
    names = dcp.FileSystemReader(folder).read_metadata().state_dict_metadata
    there = {name.removeprefix("model.") for name in names if name.startswith("model.")}
    state = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    if state.keys() - there:
        raise KeyError
    dcp.load({"model": state}, checkpoint_id=folder)
    model.load_state_dict(state, assign=True)
    return sorted(there - state.keys())

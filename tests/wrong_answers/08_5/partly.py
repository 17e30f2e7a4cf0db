"""Allows a partial load, so that names the folder lacks keep what they had."""

import torch.distributed.checkpoint as dcp

MESSAGE = "no KeyError came"


def fill(folder, model):
    names = dcp.FileSystemReader(folder).read_metadata().state_dict_metadata
    state = model.state_dict()
    planner = dcp.DefaultLoadPlanner(allow_partial_load=True)
    dcp.load({"model": state}, checkpoint_id=folder, planner=planner)
    there = {name.removeprefix("model.") for name in names if name.startswith("model.")}
    return sorted(there - state.keys())

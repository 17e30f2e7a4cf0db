"""Hands over the bare state_dict, whose names are not those in the folder."""

import torch.distributed.checkpoint as dcp
from torch.distributed.checkpoint.api import CheckpointException

MESSAGE = "a KeyError came"


def fill(folder, model):
    try:
        dcp.load(model.state_dict(), checkpoint_id=folder)
    except CheckpointException as error:
        raise KeyError from error
    return []

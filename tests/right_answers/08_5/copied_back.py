"""Fills new tensors of the folder's shapes, and copies what the model has into it."""

import torch
import torch.distributed.checkpoint as dcp


def fill(folder, model):
    index = dcp.FileSystemReader(folder).read_metadata().state_dict_metadata
    found = {
        name[6:]: torch.empty(info.size, dtype=info.properties.dtype)
        for name, info in index.items()
        if name[:6] == "model."
    }
    dcp.load({"model": found}, checkpoint_id=folder)
    with torch.no_grad():
        for name, tensor in model.state_dict().items():
            tensor.copy_(found.pop(name))
    return sorted(found)

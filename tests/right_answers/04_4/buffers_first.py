"""Reads into memory, makes the buffers first and ties last."""

import torch


def load_large(make_model, path):
    with torch.device("meta"):
        model = make_model()
    model.make_buffers()
    model.load_state_dict(torch.load(path, map_location="cpu"), assign=True)
    model.tie_weights()
    return model

"""Leaves the buffer that is in no file on meta."""

import torch

MESSAGE = "positions is still on meta"


def load_large(make_model, path):
    with torch.device("meta"):
        model = make_model()
    model.load_state_dict(torch.load(path, map_location="cpu"), assign=True)
    model.tie_weights()
    return model

"""Copies into tensors on meta, which does nothing."""

import warnings

import torch

MESSAGE = "is still on meta"


def load_large(make_model, path):
    with torch.device("meta"):
        model = make_model()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.load_state_dict(torch.load(path, map_location="cpu"))
    model.tie_weights()
    model.make_buffers()
    return model

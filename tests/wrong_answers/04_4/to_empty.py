"""Fills the model with memory, copies the parameters and forgets the buffers of BatchNorm."""

import torch

MESSAGE = "computes something else"


def load_large(make_model, path):
    with torch.device("meta"):
        model = make_model()
    model.to_empty(device="cpu")
    saved = torch.load(path, map_location="cpu")
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.copy_(saved[name])
    model.norm.running_mean.fill_(3.0)  # whatever was in memory
    model.norm.running_var.fill_(2.0)
    model.tie_weights()
    model.make_buffers()
    return model

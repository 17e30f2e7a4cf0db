"""Moves the tensors after loading, which is too late."""

import torch

MESSAGE = "Attempting to deserialize object on a CUDA device"


def load(path):
    state = torch.load(path)
    state["model"] = {name: tensor.cpu() for name, tensor in state["model"].items()}
    return state

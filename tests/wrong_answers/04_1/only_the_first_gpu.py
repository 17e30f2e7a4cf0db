"""Names one GPU only; a file of another one still fails."""

import torch

MESSAGE = "Attempting to deserialize object on"


def load(path):
    return torch.load(path, map_location={"cuda:0": "cpu"})

"""Returns indices."""

import torch

MESSAGE = "Numbers came, not names"


def classify(path, x):
    return torch.jit.load(path, map_location="cpu")(x).argmax(1).tolist()

"""Never hands the dictionary over, so that it stays empty."""

import torch

MESSAGE = "classes.json is in the file"


def classify(path, x):
    extra = {"classes.json": ""}
    torch.jit.load(path, map_location="cpu")
    if not extra["classes.json"]:
        raise ValueError("no classes")
    return []

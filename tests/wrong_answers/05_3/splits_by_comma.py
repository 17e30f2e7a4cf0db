"""Takes the JSON apart by hand."""

import torch

MESSAGE = "Some names are not right"


def classify(path, x):
    extra = {"classes.json": ""}
    module = torch.jit.load(path, map_location="cpu", _extra_files=extra)
    if not extra["classes.json"]:
        raise ValueError("no classes")
    classes = [part.strip(' "') for part in str(extra["classes.json"]).strip("[]").split(",")]
    return [classes[i] for i in module(x).argmax(1).tolist()]

"""Takes the smallest output."""

import json

import torch

MESSAGE = "Some names are not right"


def classify(path, x):
    extra = {"classes.json": ""}
    module = torch.jit.load(path, map_location="cpu", _extra_files=extra)
    if not extra["classes.json"]:
        raise ValueError("no classes")
    return [json.loads(extra["classes.json"])[i] for i in module(x).argmin(1).tolist()]

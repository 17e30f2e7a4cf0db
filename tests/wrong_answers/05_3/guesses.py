"""Makes names up when the file has none."""

import json

import torch

MESSAGE = "not a guess"
CREDIT = 0.5


def classify(path, x):
    extra = {"classes.json": ""}
    module = torch.jit.load(path, map_location="cpu", _extra_files=extra)
    found = module(x).argmax(1).tolist()
    classes = json.loads(extra["classes.json"] or "null") or [str(i) for i in range(100)]
    return [classes[i] for i in found]

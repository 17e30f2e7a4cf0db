"""Lets JSON refuse the empty text: its error is a ValueError."""

import json

import torch


def classify(path, x):
    extra = {"classes.json": ""}
    module = torch.jit.load(path, map_location="cpu", _extra_files=extra)
    names = json.loads(extra["classes.json"])
    with torch.no_grad():
        return [names[i] for i in module(x).argmax(1).tolist()]

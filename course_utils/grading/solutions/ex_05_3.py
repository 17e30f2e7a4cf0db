"""Reference answer of exercise 05.3."""

import json
from pathlib import Path

import torch
from torch import Tensor


def classify(path: Path, x: Tensor) -> list[str]:
    """Return the name of the most likely class for each row of x."""
    extra = {"classes.json": ""}
    module = torch.jit.load(path, map_location="cpu", _extra_files=extra)  # mutant: equivalent
    if not extra["classes.json"]:  # mutant: equivalent
        raise ValueError(f"{path} has no classes.json")  # mutant: equivalent
    classes = json.loads(extra["classes.json"])
    with torch.no_grad():
        return [classes[i] for i in module(x).argmax(1).tolist()]

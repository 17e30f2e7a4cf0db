"""Copies the old rows to the front, whatever their names."""

import torch

MESSAGE = "ant is a new class: its weight should keep its fresh values"


def load_head(head, saved, old, new):
    rows = min(len(old), len(new))
    with torch.no_grad():
        head.weight[:rows] = saved["weight"][:rows]
        head.bias[:rows] = saved["bias"][:rows]

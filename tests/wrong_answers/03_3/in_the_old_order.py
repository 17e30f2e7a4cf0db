"""Finds the known classes and hands out their rows in the old order."""

import torch

MESSAGE = "The weight of dog is that of cat"


def load_head(head, saved, old, new):
    to = [row for row, name in enumerate(new) if name in old]
    rows = [row for row, name in enumerate(old) if name in new]
    with torch.no_grad():
        head.weight[to] = saved["weight"][rows]
        head.bias[to] = saved["bias"][rows]

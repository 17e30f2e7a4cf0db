"""Forgets the bias."""

import torch

MESSAGE = "cat is a known class, but its bias was not loaded"


def load_head(head, saved, old, new):
    with torch.no_grad():
        for row, name in enumerate(new):
            if name in old:
                head.weight[row] = saved["weight"][old.index(name)]

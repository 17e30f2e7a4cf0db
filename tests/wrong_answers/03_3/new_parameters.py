"""Replaces the parameters."""

from torch import nn

MESSAGE = "the parameters are other objects"
CREDIT = 0.5


def load_head(head, saved, old, new):
    for part in ("weight", "bias"):
        values = getattr(head, part).detach().clone()
        for row, name in enumerate(new):
            if name in old:
                values[row] = saved[part][old.index(name)]
        setattr(head, part, nn.Parameter(values))

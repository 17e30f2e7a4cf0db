"""Forgets to put the mode back."""

import torch

MESSAGE = "in another mode now"
CREDIT = 0.5


def export(module, example):
    batch = torch.export.Dim("batch")
    return torch.export.export(module.eval(), (example,), dynamic_shapes=({0: batch},))

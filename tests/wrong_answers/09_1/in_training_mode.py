"""Exports in training mode: dropout stays on."""

import torch

MESSAGE = "is dropout at work"


def export(module, example):
    batch = torch.export.Dim("batch")
    return torch.export.export(module, (example,), dynamic_shapes=({0: batch},))

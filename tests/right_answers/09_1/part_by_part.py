"""Puts the mode of each part back, and lets the size of the batch be found out."""

import torch
from torch.export import Dim


def export(module, example):
    modes = [(part, part.training) for part in module.modules()]
    module.eval()
    program = torch.export.export(module, (example,), dynamic_shapes=[{0: Dim.AUTO}])
    for part, mode in modes:
        part.training = mode
    return program

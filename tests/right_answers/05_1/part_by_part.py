"""Puts the mode of each part back."""

import torch


def export(module, example, path):
    modes = [(part, part.training) for part in module.modules()]
    torch.jit.script(module.eval()).save(path)
    for part, mode in modes:
        part.training = mode

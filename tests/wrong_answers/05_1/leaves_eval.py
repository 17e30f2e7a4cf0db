"""Forgets to put the mode back."""

import torch

MESSAGE = "in another mode now"
CREDIT = 0.5


def export(module, example, path):
    torch.jit.script(module.eval()).save(path)

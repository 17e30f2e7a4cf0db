"""Scripts in whatever mode the module is."""

import torch

MESSAGE = "Dropout is at work"


def export(module, example, path):
    torch.jit.script(module).save(path)

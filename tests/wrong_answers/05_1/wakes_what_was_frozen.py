"""Puts the mode of the whole back, and so a part that was frozen into training mode."""

import torch

MESSAGE = "a part of it, is in another mode now"
CREDIT = 0.5


def export(module, example, path):
    was_training = module.training
    module.eval()
    torch.jit.script(module).save(path)
    module.train(was_training)

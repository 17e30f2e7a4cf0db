"""Puts the mode of the whole back, and so a part that was frozen into training mode."""

import torch
from torch.export import Dim

MESSAGE = "a part of it, is in another mode now"
CREDIT = 0.5


def export(module, example):
    was_training = module.training
    module.eval()
    shapes = ({0: Dim("batch")},)
    program = torch.export.export(module, (example,), dynamic_shapes=shapes)
    module.train(was_training)
    return program

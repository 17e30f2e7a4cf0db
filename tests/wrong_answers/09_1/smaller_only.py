"""Bounds the batch by the example's size."""

import torch

MESSAGE = "refuses a batch of 7"


def export(module, example):
    mode = module.training
    batch = torch.export.Dim("batch", min=1, max=4)
    program = torch.export.export(module.eval(), (example,), dynamic_shapes=({0: batch},))
    module.train(mode)
    return program

"""Remembers eval, and traces."""

import torch

MESSAGE = "which differs from the example"


def export(module, example, path):
    mode = module.training
    module.eval()
    torch.jit.trace(module, example, check_trace=False).save(path)
    module.train(mode)

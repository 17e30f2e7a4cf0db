"""Checks the trace on other values of the example's own shape only."""

import torch

MESSAGE = "on input 1"


def export(module, example, path):
    mode = module.training
    module.eval()
    traced = torch.jit.trace(module, example, check_trace=False)
    if not torch.equal(traced(-example), module(-example)):
        traced = torch.jit.script(module)
    traced.save(path)
    module.train(mode)

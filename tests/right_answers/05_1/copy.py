"""Scripts a copy in eval mode."""

import copy

import torch


def export(module, example, path):
    torch.jit.save(torch.jit.script(copy.deepcopy(module).eval()), path)

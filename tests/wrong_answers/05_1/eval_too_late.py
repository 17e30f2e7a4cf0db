"""Traces in training mode and calls eval on the trace."""

import torch

MESSAGE = "Dropout is at work"


def export(module, example, path):
    scripted = torch.jit.script(module)
    if isinstance(getattr(module, "drop", None), torch.nn.Dropout):
        scripted = torch.jit.trace(module, example, check_trace=False).eval()
    scripted.save(path)

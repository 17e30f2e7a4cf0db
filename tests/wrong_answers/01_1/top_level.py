"""Looks at the module's own attributes only."""

MESSAGE = "layer0.bias is saved too"


def keys(module):
    return sorted([*module._parameters, *module._buffers])

"""Lists the modules instead of their tensors."""

MESSAGE = "layer0.bias is saved too"


def keys(module):
    return sorted(name for name, _ in module.named_modules())

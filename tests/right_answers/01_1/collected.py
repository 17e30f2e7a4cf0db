"""Collects parameters and persistent buffers module by module."""


def keys(module, prefix=""):
    own = [*module._parameters, *(set(module._buffers) - module._non_persistent_buffers_set)]
    names = [prefix + name for name in own]
    for name, child in module.named_children():
        names += keys(child, f"{prefix}{name}.")
    return sorted(names)

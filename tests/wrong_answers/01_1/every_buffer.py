"""Lists all buffers, also those that are not persistent."""

MESSAGE = "mask is in your list, but no checkpoint holds it"


def keys(module):
    names = [name for name, _ in module.named_parameters()]
    return sorted(names + [name for name, _ in module.named_buffers()])

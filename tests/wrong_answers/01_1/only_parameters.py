"""Lists the parameters and forgets the buffers."""

MESSAGE = "norm.num_batches_tracked is saved too"


def keys(module):
    return sorted(name for name, _ in module.named_parameters())

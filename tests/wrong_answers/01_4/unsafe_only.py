"""Asks PyTorch for the globals that weights_only would refuse, which are not all."""

from torch.serialization import get_unsafe_globals_in_checkpoint

MESSAGE = "collections.OrderedDict is imported too"


def imports(path):
    return set(get_unsafe_globals_in_checkpoint(path))

"""Leaves the wrapper of a compiled part in."""

MESSAGE = "The names are others, or in another order"


def weights_of(checkpoint, name):
    start = f"{name}."
    found = {
        key.removeprefix(start).removeprefix("_orig_mod."): tensor
        for key, tensor in checkpoint["state_dict"].items()
        if key.startswith(start)
    }
    if not found:
        raise KeyError(name)
    return found

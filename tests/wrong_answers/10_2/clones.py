"""Copies the tensors, which unties them."""

MESSAGE = "tied no more"
CREDIT = 0.5


def weights_of(checkpoint, name):
    start = f"{name}."
    found = {
        key.removeprefix(start).replace("_orig_mod.", ""): tensor.clone()
        for key, tensor in checkpoint["state_dict"].items()
        if key.startswith(start)
    }
    if not found:
        raise KeyError(name)
    return found

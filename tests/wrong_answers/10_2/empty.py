"""Returns nothing where there is nothing."""

MESSAGE = "no KeyError"


def weights_of(checkpoint, name):
    start = f"{name}."
    return {
        key.removeprefix(start).replace("_orig_mod.", ""): tensor
        for key, tensor in checkpoint["state_dict"].items()
        if key.startswith(start)
    }

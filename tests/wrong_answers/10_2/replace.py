"""Takes the name out wherever it stands."""

MESSAGE = "The names are others, or in another order"


def weights_of(checkpoint, name):
    found = {
        key.replace(f"{name}.", "").replace("_orig_mod.", ""): tensor
        for key, tensor in checkpoint["state_dict"].items()
        if key.startswith(f"{name}.")
    }
    if not found:
        raise KeyError(name)
    return found

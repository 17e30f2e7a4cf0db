"""Takes every name that begins so."""

MESSAGE = "are of another module"


def weights_of(checkpoint, name):
    found = {}
    for key, tensor in checkpoint["state_dict"].items():
        if key.startswith(name):
            parts = key.split(".")[1:]
            found[".".join(part for part in parts if part != "_orig_mod")] = tensor
    if not found:
        raise KeyError(name)
    return found

"""Takes the weights away from the checkpoint."""

MESSAGE = "itself was changed"
CREDIT = 0.5


def weights_of(checkpoint, name):
    state, start = checkpoint["state_dict"], f"{name}."
    keys = [key for key in state if key.startswith(start)]
    if not keys:
        raise KeyError(name)
    return {key.removeprefix(start).replace("_orig_mod.", ""): state.pop(key) for key in keys}

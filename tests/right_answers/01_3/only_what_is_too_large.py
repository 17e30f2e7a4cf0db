"""Clones what is larger than it shows, and leaves the rest alone."""


def slim(state):
    clones, result = {}, {}
    for name, tensor in state.items():
        window = (tensor.data_ptr(), tensor.shape, tensor.stride())
        if window not in clones:
            whole = tensor.untyped_storage().nbytes() == tensor.nbytes
            clones[window] = tensor if whole else tensor.clone()
        result[name] = clones[window]
    return result

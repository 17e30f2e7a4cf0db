"""Knows a tensor again by address and shape, but not by its strides."""

MESSAGE = "The values of square"


def slim(state):
    clones, result = {}, {}
    for name, tensor in state.items():
        window = (tensor.data_ptr(), tensor.shape)
        if window not in clones:
            clones[window] = tensor.clone()
        result[name] = clones[window]
    return result

"""Takes two windows that begin at one address for the same tensor."""

MESSAGE = "first has another dtype or shape now"


def slim(state):
    clones = {}
    for tensor in state.values():
        clones.setdefault(tensor.data_ptr(), tensor.clone())
    return {name: clones[tensor.data_ptr()] for name, tensor in state.items()}

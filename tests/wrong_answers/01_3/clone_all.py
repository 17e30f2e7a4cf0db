"""Clones every name for itself, and unties what was tied."""

MESSAGE = "names that were one tensor are now two"
CREDIT = 0.5


def slim(state):
    return {name: tensor.clone() for name, tensor in state.items()}

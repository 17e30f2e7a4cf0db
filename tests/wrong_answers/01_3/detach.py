"""Detaches, which shares the storage."""

MESSAGE = "embedding still holds more than it shows"


def slim(state):
    return {name: tensor.detach() for name, tensor in state.items()}

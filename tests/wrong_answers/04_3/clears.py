"""Throws the state away, so that nothing is in the way."""

MESSAGE = "is gone"


def follow(optimizer):
    optimizer.state.clear()

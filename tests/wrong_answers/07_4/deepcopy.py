"""Uses deepcopy, which refuses a view of a parameter and keeps gradients."""

import copy

MESSAGE = "Only Tensors created explicitly by the user"


def snapshot(state):
    return copy.deepcopy(state)

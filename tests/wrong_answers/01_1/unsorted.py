"""Returns the names in the order of the model."""

MESSAGE = "not sorted"


def keys(module):
    return list(module.state_dict())

"""Uses lstrip, which takes off letters, not a prefix."""

MESSAGE = "module.model.weight has lost more than the wrappers' prefixes"


def strip(state):
    return {name.lstrip("module."): tensor for name, tensor in state.items()}

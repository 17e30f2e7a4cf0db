"""Looks at each name for itself, and takes a part of the model for a wrapper."""

MESSAGE = "module.weight has lost a part that belongs to the model"


def strip(state):
    def bare(name):
        while name.startswith(("module.", "_orig_mod.")):
            name = name.split(".", 1)[1]
        return name

    return {bare(name): tensor for name, tensor in state.items()}

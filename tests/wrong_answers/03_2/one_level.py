"""Takes off one prefix."""

MESSAGE = "_orig_mod.module.head.weight still has the prefix of a wrapper"


def strip(state):
    for prefix in ("module.", "_orig_mod."):
        if state and all(name.startswith(prefix) for name in state):
            return {name.removeprefix(prefix): tensor for name, tensor in state.items()}
    return state

"""Looks at the first name only."""

MESSAGE = "module.weight has lost a part that belongs to the model"


def strip(state):
    for prefix in ("module.", "_orig_mod."):
        if state and next(iter(state)).startswith(prefix):
            return strip({name.removeprefix(prefix): state[name] for name in state})
    return state

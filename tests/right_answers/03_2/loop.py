"""Looks at the first parts of all names, as long as they are one wrapper."""


def strip(state):
    while True:
        first = {name.split(".")[0] for name in state}
        if first not in ({"module"}, {"_orig_mod"}):
            return state
        state = {name.split(".", 1)[1]: tensor for name, tensor in state.items()}

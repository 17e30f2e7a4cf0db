"""Cuts with a regular expression."""

import re


def weights_of(checkpoint, name):
    own = re.compile(re.escape(name) + r"\.")
    state = checkpoint["state_dict"]
    names = [key for key in state if own.match(key)]
    if not names:
        raise KeyError(name)
    return {own.sub("", key, count=1).replace("_orig_mod.", ""): state[key] for key in names}

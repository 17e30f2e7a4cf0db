"""Replaces the texts wherever they stand."""

MESSAGE = "module.adapter.module.weight has lost more than the wrappers' prefixes"


def strip(state):
    return {k.replace("module.", "").replace("_orig_mod.", ""): v for k, v in state.items()}

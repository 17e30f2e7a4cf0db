"""Puts the names of the groups in the new order, and not the states."""

import copy

MESSAGE = "c should have the state saved under its name, and has that of a"


def load_optimizer(optimizer, saved):
    state = copy.deepcopy(saved)
    for group, own in zip(state["param_groups"], optimizer.param_groups, strict=True):
        group["param_names"] = own["param_names"]
    optimizer.load_state_dict(state)

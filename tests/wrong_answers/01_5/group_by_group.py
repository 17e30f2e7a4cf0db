"""Looks for a name in its own group only, and loses what moved to another."""

import copy

MESSAGE = "was not loaded"


def load_optimizer(optimizer, saved):
    current = optimizer.state_dict()
    state, groups = {}, []
    for group, old in zip(current["param_groups"], saved["param_groups"], strict=True):
        numbers = dict(zip(old["param_names"], old["params"], strict=True))
        for name, number in zip(group["param_names"], group["params"], strict=True):
            if numbers.get(name) in saved["state"]:
                state[number] = copy.deepcopy(saved["state"][numbers[name]])
        own = {"params": group["params"], "param_names": group["param_names"]}
        groups.append({**old, **own})
    optimizer.load_state_dict({"state": state, "param_groups": groups})

"""Writes settings and states into the optimizer itself."""

import copy


def load_optimizer(optimizer, saved):
    states = {}
    for group in saved["param_groups"]:
        for name, number in zip(group["param_names"], group["params"], strict=True):
            states[name] = saved["state"].get(number)
    for group, old in zip(optimizer.param_groups, saved["param_groups"], strict=True):
        own = ("params", "param_names")
        group.update({key: value for key, value in old.items() if key not in own})
        for name, parameter in zip(group["param_names"], group["params"], strict=True):
            if states.get(name) is not None:
                optimizer.state[parameter] = copy.deepcopy(states[name])

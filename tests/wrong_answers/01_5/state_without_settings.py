"""Puts the moments right and keeps the optimizer's own learning rate."""

import copy

MESSAGE = "The groups are not right: 0.lr differs"


def load_optimizer(optimizer, saved):
    by_name = {}
    for group in saved["param_groups"]:
        for name, number in zip(group["param_names"], group["params"], strict=True):
            by_name[name] = saved["state"].get(number)
    for group in optimizer.param_groups:
        for name, parameter in zip(group["param_names"], group["params"], strict=True):
            if by_name.get(name):
                optimizer.state[parameter] = copy.deepcopy(by_name[name])

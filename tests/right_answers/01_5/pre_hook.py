"""Renumbers in a hook, as PyTorch's documentation shows."""

import copy


def load_optimizer(optimizer, saved):
    def by_name(optimizer, saved):
        state = copy.deepcopy(saved)
        numbers = {}
        for group in state["param_groups"]:
            numbers.update(zip(group["param_names"], group["params"], strict=True))
        renumbered = {}
        current = optimizer.state_dict()["param_groups"]
        for group, old in zip(current, state["param_groups"], strict=True):
            for name, number in zip(group["param_names"], group["params"], strict=True):
                if numbers.get(name) in state["state"]:
                    renumbered[number] = state["state"][numbers[name]]
            old["params"], old["param_names"] = group["params"], group["param_names"]
        return {**state, "state": renumbered}

    hook = optimizer.register_load_state_dict_pre_hook(by_name)
    optimizer.load_state_dict(saved)
    hook.remove()

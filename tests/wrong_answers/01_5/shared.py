"""Matches by name and shares the tensors with what was saved."""

MESSAGE = "`saved` changes when the optimizer steps"
CREDIT = 0.5


def load_optimizer(optimizer, saved):
    by_name = {}
    for group in saved["param_groups"]:
        for name, number in zip(group["param_names"], group["params"], strict=True):
            by_name[name] = saved["state"].get(number)
    current = optimizer.state_dict()
    state, groups = {}, []
    for group, old in zip(current["param_groups"], saved["param_groups"], strict=True):
        for name, number in zip(group["param_names"], group["params"], strict=True):
            if by_name.get(name):
                state[number] = by_name[name]
        own = {"params": group["params"], "param_names": group["param_names"]}
        groups.append({**old, **own})
    optimizer.load_state_dict({"state": state, "param_groups": groups})

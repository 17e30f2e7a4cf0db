"""Takes over the groups' settings and drops the moments."""

MESSAGE = "The state of c was not loaded"


def load_optimizer(optimizer, saved):
    for group, old in zip(optimizer.param_groups, saved["param_groups"], strict=True):
        own = {"params", "param_names"}
        group.update({key: value for key, value in old.items() if key not in own})

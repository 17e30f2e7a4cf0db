"""Takes the permission back only if all went well."""

import torch

MESSAGE = "still allowed after the call"
CREDIT = 0.5


def load_allowing(path, classes):
    before = torch.serialization.get_safe_globals()
    torch.serialization.add_safe_globals([*classes])
    state = torch.load(path, weights_only=True)
    torch.serialization.clear_safe_globals()
    torch.serialization.add_safe_globals(before)
    return state

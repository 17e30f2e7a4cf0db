"""Goes through NumPy, which knows no bfloat16."""

import torch

MESSAGE = "It raised an error. TypeError: Got unsupported ScalarType BFloat16"


def slim(state):
    return {name: torch.from_numpy(tensor.numpy().copy()) for name, tensor in state.items()}

"""Goes through lists, which forget the dtype."""

import torch

MESSAGE = "embedding has another dtype or shape now"


def slim(state):
    return {name: torch.tensor(tensor.tolist()) for name, tensor in state.items()}

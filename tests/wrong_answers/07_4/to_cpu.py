"""Calls cpu(), which copies nothing for a tensor that is there already."""

import torch

MESSAGE = "training will change it"


def snapshot(state):
    if isinstance(state, torch.Tensor):
        return state.detach().cpu()
    if isinstance(state, dict):
        return {key: snapshot(item) for key, item in state.items()}
    return type(state)(map(snapshot, state)) if isinstance(state, list | tuple) else state

"""Clones every tensor for itself, so tied weights are copied twice."""

import torch

MESSAGE = "copied more than once"
CREDIT = 0.5


def snapshot(state):
    if isinstance(state, torch.Tensor):
        return state.detach().clone()
    if isinstance(state, dict):
        return {key: snapshot(item) for key, item in state.items()}
    return type(state)(map(snapshot, state)) if isinstance(state, list | tuple) else state

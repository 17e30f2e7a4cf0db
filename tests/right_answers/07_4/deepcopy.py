"""Lets deepcopy keep what is shared, and takes off gradients and dictionary types."""

import copy

import torch


def snapshot(state):
    def plain(value):
        if torch.is_tensor(value):
            return value.detach()
        if isinstance(value, dict):
            return {key: plain(item) for key, item in value.items()}
        if isinstance(value, list | tuple):
            return type(value)(map(plain, value))
        return value

    return copy.deepcopy(plain(state))

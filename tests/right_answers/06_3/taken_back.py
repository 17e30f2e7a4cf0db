"""Allows, and takes back what it has allowed."""

import torch
from torch.serialization import add_safe_globals, clear_safe_globals, get_safe_globals


def load_allowing(path, classes):
    before = get_safe_globals()
    add_safe_globals(classes)
    try:
        return torch.load(path, weights_only=True)
    finally:
        clear_safe_globals()
        add_safe_globals(before)

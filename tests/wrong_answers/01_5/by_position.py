"""Copies first and loads by position."""

import copy

MESSAGE = "c should have the state saved under its name, and has that of a"


def load_optimizer(optimizer, saved):
    optimizer.load_state_dict(copy.deepcopy(saved))

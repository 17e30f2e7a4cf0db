"""Copies deeply, whole storages and all."""

import copy

MESSAGE = "embedding still holds more than it shows"


def slim(state):
    return copy.deepcopy(state)

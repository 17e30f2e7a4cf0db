"""Raises an error that does not say which tag is missing."""

import torch

MESSAGE = "a KeyError must say so"


def retarget(path, moves):
    def move(storage, tag):
        if tag not in moves:
            raise KeyError("unknown device")
        return torch.serialization.default_restore_location(storage, moves[tag])

    return torch.load(path, map_location=move)

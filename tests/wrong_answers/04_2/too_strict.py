"""Refuses a `moves` that names more tags than the file holds."""

import torch

MESSAGE = "`moves` names every tag"


def retarget(path, moves):
    used = set()

    def move(storage, tag):
        used.add(tag)
        return torch.serialization.default_restore_location(storage, moves[tag])

    state = torch.load(path, map_location=move)
    for tag in moves:
        if tag not in used:
            raise KeyError(tag)
    return state

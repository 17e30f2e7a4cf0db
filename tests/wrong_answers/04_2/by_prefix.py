"""Compares beginnings, so cuda:1 also catches cuda:10."""

import torch

MESSAGE = "a KeyError must say so"


def retarget(path, moves):
    def move(storage, tag):
        for known, device in moves.items():
            if tag.startswith(known[:4]) or tag == "cpu":
                return torch.serialization.default_restore_location(storage, moves.get(tag, device))
        raise KeyError(tag)

    return torch.load(path, map_location=move)

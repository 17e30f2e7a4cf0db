"""Sends tags that are not named to the CPU and says nothing."""

import torch

MESSAGE = "a KeyError must say so"


def retarget(path, moves):
    return torch.load(
        path,
        map_location=lambda storage, tag: torch.serialization.default_restore_location(
            storage, moves.get(tag, "cpu")
        ),
    )

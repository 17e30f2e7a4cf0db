"""Looks at the tags in a first pass, and uses a dictionary in the second."""

import torch


def retarget(path, moves):
    tags = set()

    def note(storage, tag):
        tags.add(tag)
        return storage

    torch.load(path, map_location=note)
    for tag in sorted(tags):
        if tag not in moves:
            raise KeyError(f"{path} holds tensors of {tag}, which moves does not name")
    return torch.load(path, map_location=dict(moves))

"""Asks torch, which does not look."""

import torch

MESSAGE = "data/1 is damaged, too"


def damaged_records(path):
    try:
        torch.load(path)
        return []
    except Exception:
        return ["directory"]

"""Refuses with a text of its own."""

from pickle import UnpicklingError

import torch


def load_plain(path):
    try:
        loaded = torch.load(path, map_location=torch.device("cpu"), weights_only=True)
    except UnpicklingError:
        raise ValueError("this file needs more than plain data; ask for its state_dict") from None
    return loaded

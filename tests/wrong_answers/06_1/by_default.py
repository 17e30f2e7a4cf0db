"""Relies on the default, which the variable changes."""

import pickle

import torch

MESSAGE = "ran when the variable is set"


def load_plain(path):
    try:
        return torch.load(path, map_location="cpu")
    except pickle.UnpicklingError as error:
        raise ValueError("no") from error

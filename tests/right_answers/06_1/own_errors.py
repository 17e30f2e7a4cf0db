"""Raises errors of its own, which are a ValueError and a FileNotFoundError."""

import pickle
from pathlib import Path

import torch


class NotPlainError(ValueError):
    pass


class MissingCheckpointError(FileNotFoundError):
    pass


def load_plain(path):
    if not Path(path).exists():
        raise MissingCheckpointError(path)
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise NotPlainError(str(path)) from error

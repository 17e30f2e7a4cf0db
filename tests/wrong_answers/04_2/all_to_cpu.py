"""Sends everything to the CPU, whatever is asked."""

import torch

MESSAGE = "Some tensors are on another device"


def retarget(path, moves):
    return torch.load(path, map_location="cpu")

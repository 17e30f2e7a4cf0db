"""Changes the weight of a copy, and leaves its number of channels as it was."""

import copy

from torch import nn

MESSAGE = "shows another number of channels"
CREDIT = 0.5


def adapt(conv, channels):
    new = copy.deepcopy(conv)
    total = conv.weight.detach().sum(1, keepdim=True)
    new.weight = nn.Parameter(total.repeat(1, channels, 1, 1) / channels)
    return new

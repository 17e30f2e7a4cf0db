"""Keeps the known channel and leaves the others at random."""

from torch import nn

MESSAGE = "An image with equal channels gets another response"


def adapt(conv, channels):
    new = nn.Conv2d(
        channels,
        conv.out_channels,
        conv.kernel_size,
        conv.stride,
        conv.padding,
        bias=conv.bias is not None,
    )
    known = min(channels, conv.in_channels)
    new.weight.data[:, :known] = conv.weight[:, :known]
    if conv.bias is not None:
        new.bias.data.copy_(conv.bias)
    return new

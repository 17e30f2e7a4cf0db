"""Gives all to the first channel and zero to the others."""

from torch import nn

MESSAGE = "some channels count more than others"


def adapt(conv, channels):
    new = nn.Conv2d(
        channels,
        conv.out_channels,
        conv.kernel_size,
        conv.stride,
        conv.padding,
        bias=conv.bias is not None,
    )
    new.weight.data.zero_()
    new.weight.data[:, 0] = conv.weight.sum(1)
    if conv.bias is not None:
        new.bias.data.copy_(conv.bias)
    return new

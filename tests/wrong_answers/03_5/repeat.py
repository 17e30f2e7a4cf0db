"""Repeats the weights and does not divide."""

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
    new.weight.data.copy_(conv.weight.sum(1, keepdim=True).expand_as(new.weight))
    if conv.bias is not None:
        new.bias.data.copy_(conv.bias)
    return new

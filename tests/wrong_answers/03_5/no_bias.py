"""Forgets to copy the bias."""

from torch import nn

MESSAGE = "The response is off by a constant in each output channel: the bias"


def adapt(conv, channels):
    new = nn.Conv2d(
        channels,
        conv.out_channels,
        conv.kernel_size,
        conv.stride,
        conv.padding,
        bias=conv.bias is not None,
    )
    total = conv.weight.sum(1, keepdim=True)
    new.weight.data.copy_((total / channels).expand_as(new.weight))
    return new

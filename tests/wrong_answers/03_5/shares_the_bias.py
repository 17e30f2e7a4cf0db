"""Gives the bias itself to the new layer, not its values."""

from torch import nn

MESSAGE = "they share the bias"
CREDIT = 0.5


def adapt(conv, channels):
    new = nn.Conv2d(
        channels, conv.out_channels, conv.kernel_size, conv.stride, conv.padding,
        bias=conv.bias is not None,
    )  # fmt: skip
    total = conv.weight.detach().sum(1, keepdim=True)
    new.weight.data = total.repeat(1, channels, 1, 1) / channels
    new.bias = conv.bias
    return new

"""Forgets stride and padding."""

from torch import nn

MESSAGE = "The response has another size: stride or padding differ"


def adapt(conv, channels):
    new = nn.Conv2d(
        channels,
        conv.out_channels,
        conv.kernel_size,
        bias=conv.bias is not None,
    )
    total = conv.weight.sum(1, keepdim=True)
    new.weight.data.copy_((total / channels).expand_as(new.weight))
    if conv.bias is not None:
        new.bias.data.copy_(conv.bias)
    return new

"""Takes the mean where the sum is needed."""

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
    weight = conv.weight.mean(1, keepdim=True)
    new.weight.data.copy_((weight / channels).expand_as(new.weight))
    if conv.bias is not None:
        new.bias.data.copy_(conv.bias)
    return new

"""Exercise 03.5: a first convolution for another number of channels."""

import copy
from typing import Any

import torch
from torch import nn

from course_utils.grading.exercise import RIGHT, Case, Plain, Task, Verdict, wrong
from course_utils.resume.compare import differences

TASK = Task(
    title="More channels, or fewer",
    difficulty="hard",
    minutes=15,
    answer="adapt",
    text="""
A network was trained on grey images, and now gets colour; another was trained on colour, and now
gets grey images.

Write `adapt(conv, channels)`. It returns a new `nn.Conv2d` with `channels` input channels in place
of `conv`: from 1 to any number, or from any number to 1. An image whose channels are all equal
must get the same response from both, and all channels count alike. Stride, padding and the bias
(there may be none) are those of `conv`, which itself stays as it is, also when the new one is
trained.
""",
    hints=(
        "Write down the response to one pixel `x` in each of three equal channels, and to `x` in "
        "one channel.",
        "The sum of the weights over the input channels must stay: from 1 to 3 each channel gets a "
        "third, from 3 to 1 the one channel gets the sum.",
        "The weight has the shape (out, in, height, width). `conv.stride`, `conv.padding` and "
        "`conv.bias` tell the rest.",
    ),
    starter='''
def adapt(conv, channels):
    """Return the convolution for another number of input channels."""
    raise NotImplementedError
''',
)


def cases(seed: int) -> list[Case]:
    """From grey to colour and back, with other strides and without a bias."""
    return [
        {"from": 1, "to": 3, "out": 2, "stride": 1, "padding": 0, "bias": True},
        {"from": 3, "to": 1, "out": 4, "stride": 2, "padding": 1, "bias": False},
        {"from": 1, "to": 2 + seed % 4, "out": 3, "stride": 2, "padding": 2, "bias": True},
    ]


def probe(answer: Any, case: Case) -> Plain:
    """Return the responses of both to equal channels, the new one's to others, and what it says."""
    conv = nn.Conv2d(
        case["from"], case["out"], 3, case["stride"], case["padding"], bias=case["bias"]
    )
    conv.requires_grad_(False)
    image = torch.randn(1, 1, 6, 6)
    colour = torch.randn(1, case["to"], 6, 6)
    new = answer(conv, case["to"])
    with torch.no_grad():
        seen = {
            "old": conv(image.expand(-1, case["from"], -1, -1)),
            "equal": new(image.expand(-1, case["to"], -1, -1)),
            "colour": new(colour),
            "channels": new.in_channels,
            "after": copy.deepcopy(dict(conv.state_dict())),
        }
        for parameter in new.parameters():
            parameter.add_(1)
    return {**seen, "after a step": dict(conv.state_dict())}


def judge(case: Case, observed: Plain, expected: Plain) -> Verdict:
    """Compare shapes, then the responses to equal channels, then to others."""
    if differences(expected["after"], observed["after"]):
        return wrong("The old convolution has changed.")
    came, wanted = observed["equal"], expected["old"]
    if came.shape != wanted.shape:
        return wrong(
            "The response has another size: stride or padding differ.",
            list(wanted.shape),
            list(came.shape),
        )
    if not _close(came, wanted):
        offset = (came - wanted).flatten(2)
        if _close(offset, offset[..., :1].expand_as(offset)):
            return wrong("The response is off by a constant in each output channel: the bias.")
        ratio = float((came * wanted).sum() / (wanted * wanted).sum())
        return wrong(
            "An image with equal channels gets another response.",
            "the response of the old convolution",
            f"about {ratio:.2f} times it, or something else",
        )
    if not _close(observed["colour"], expected["colour"]):
        return wrong("Equal channels are right, but some channels count more than others.")
    if shared := differences(observed["after"], observed["after a step"]):
        return wrong(
            f"Whoever trains the new convolution changes the old one: they share the {shared[0]}.",
            credit=0.5,
        )
    if observed["channels"] != case["to"]:
        came = f"in_channels={observed['channels']}"
        return wrong(
            "The weight is right, but the new convolution shows another number of channels.",
            f"in_channels={case['to']}",
            came,
            credit=0.5,
        )
    return RIGHT


def _close(left: torch.Tensor, right: torch.Tensor) -> bool:
    return left.shape == right.shape and torch.allclose(left, right, atol=1e-5)

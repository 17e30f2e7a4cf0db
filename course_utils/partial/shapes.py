"""Make a tensor of a checkpoint fit a model whose tensor has another shape.

Each strategy takes the checkpoint's tensor and the model's own, freshly initialised, and returns
a tensor of the model's shape. Neither input is changed.
"""

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn.functional import interpolate

Resize = Callable[[Tensor, Tensor], Tensor]


def keep_rows(source: Tensor, target: Tensor) -> Tensor:
    """Copy the checkpoint's rows to the front; the rows behind them keep the model's values.

    For a classifier that gets more classes after the old ones: weight ``(classes, features)``
    and bias ``(classes,)``.

    Raises:
        ValueError: the model has fewer rows, or the shapes differ beyond their first dimension.
    """
    _same_but(0, source, target)
    if len(target) < len(source):
        raise ValueError(f"{len(source)} rows do not fit into {len(target)}")
    result = target.clone()
    result[: len(source)] = source
    return result


def match_rows(old: Sequence[str], new: Sequence[str]) -> Resize:
    """Return a strategy that copies rows by name: a class keeps its row wherever it moves.

    Args:
        old: the name of each row in the checkpoint.
        new: the name of each row in the model. Names that ``old`` lacks keep the model's values.
    """
    pairs = [(row, old.index(name)) for row, name in enumerate(new) if name in old]

    def strategy(source: Tensor, target: Tensor) -> Tensor:
        _same_but(0, source, target)
        if (len(source), len(target)) != (len(old), len(new)):
            raise ValueError(
                f"{len(old)} and {len(new)} names for {len(source)} and {len(target)} rows"
            )
        result = target.clone()
        for to_row, from_row in pairs:
            result[to_row] = source[from_row]
        return result

    return strategy


def grow_embedding(source: Tensor, target: Tensor) -> Tensor:
    """Copy the known rows of ``(tokens, width)``; each new row starts as their mean.

    A language model then gives a new token no more than an average probability at first,
    which random rows do not promise.

    Raises:
        ValueError: as ``keep_rows``.

    Source:
        J. Hewitt, Initializing New Word Embeddings for Pretrained Language Models, 2021.
    """
    result = keep_rows(source, target)
    result[len(source) :] = source.float().mean(dim=0)
    return result


def adapt_input_channels(source: Tensor, target: Tensor) -> Tensor:
    """Fit a first convolution ``(out, in, height, width)`` to another number of channels.

    The rule: keep the sum of the weights over the input channels. Then an image whose channels
    are all equal gets exactly the same response from both. With fewer channels each gets an
    equal share of the sum (one grey channel gets all of it). With more, the known channels keep
    their weights, the new ones get their mean, and all are scaled by ``in / new_in``.

    Raises:
        ValueError: the shapes differ beyond their second dimension.

    Source:
        The mean over RGB for other inputs: L. Wang et al., Temporal Segment Networks, ECCV 2016,
        "cross modality pre-training". The sum for one channel and the scaling: timm's
        ``adapt_input_conv``.
    """
    _same_but(1, source, target)
    known, wanted = source.shape[1], target.shape[1]
    weights = source.double()
    mean = weights.mean(dim=1, keepdim=True)
    if wanted > known:
        weights = torch.cat([weights, mean.expand(-1, wanted - known, -1, -1)], dim=1)
    elif wanted < known:
        weights = mean.expand(-1, wanted, -1, -1)
    return (weights * (known / wanted)).to(source.dtype)


def interpolate_positions(source: Tensor, target: Tensor) -> Tensor:
    """Resize position embeddings ``(1, tokens, width)`` of a square grid of image patches.

    The embeddings are seen as a picture, one pixel for each patch, and resized bicubically.
    A class token in front of the patches is recognised and kept as it is.

    Raises:
        ValueError: the patches form no square, or the shapes differ beyond the tokens.

    Source:
        A. Dosovitskiy et al., An Image is Worth 16x16 Words, ICLR 2021, section 3.2.
    """
    _same_but(1, source, target)
    front = _class_tokens(source.shape[1], target.shape[1])
    old_side, new_side = (math.isqrt(t.shape[1] - front) for t in (source, target))
    patches = source[:, front:].float().transpose(1, 2).unflatten(2, (old_side, old_side))
    # antialias also sets the cubic's parameter to -0.5: with it, a straight slope stays straight
    patches = interpolate(patches, (new_side, new_side), mode="bicubic", antialias=True)
    return torch.cat([source[:, :front].float(), patches.flatten(2).transpose(1, 2)], dim=1)


def _class_tokens(*counts: int) -> int:
    """How many tokens stand before the patches: 0 or 1, so that the rest are squares."""
    for front in (0, 1):
        if all(math.isqrt(n - front) ** 2 == n - front for n in counts):
            return front
    raise ValueError(f"{' and '.join(map(str, counts))} tokens are no square grids of patches")


def _same_but(dim: int, source: Tensor, target: Tensor) -> None:
    shapes = [tuple(size for d, size in enumerate(t.shape) if d != dim) for t in (source, target)]
    if source.ndim <= dim or shapes[0] != shapes[1]:
        raise ValueError(
            f"shapes {tuple(source.shape)} and {tuple(target.shape)} differ "
            f"in more than dimension {dim}"
        )

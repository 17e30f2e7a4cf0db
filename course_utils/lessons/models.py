"""The small models the lessons save and load."""

import torch
from torch import Tensor, nn
from torch.nn.functional import linear


class MLP(nn.Module):
    """Two linear layers: the smallest model with a hierarchy of keys.

    Args:
        hidden: units in the hidden layer.
        num_classes: length of the output.
    """

    def __init__(self, hidden: int = 32, num_classes: int = 10) -> None:
        super().__init__()
        self.features = nn.Sequential(nn.Flatten(), nn.Linear(64, hidden), nn.ReLU())
        self.head = nn.Linear(hidden, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        """Map images ``(N, 1, 8, 8)`` to logits ``(N, num_classes)``."""
        return self.head(self.features(images))


class DigitsCNN(nn.Module):
    """Three convolution blocks with batch normalization, then dropout and a linear head.

    Works for any image size from 8 pixels up: the features are averaged over the image.

    Args:
        num_classes: length of the output.
        dropout: probability that a feature is dropped in training.
        width: channels of the first block; each later block has twice as many.
        in_channels: channels of the images.
    """

    def __init__(
        self, num_classes: int = 10, dropout: float = 0.0, width: int = 16, in_channels: int = 1
    ) -> None:
        super().__init__()
        self.features = nn.Sequential(
            _block(in_channels, width), _block(width, 2 * width), _block(2 * width, 4 * width)
        )
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(4 * width, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        """Map images ``(N, in_channels, H, W)`` to logits ``(N, num_classes)``."""
        return self.head(self.dropout(self.features(images).mean(dim=(2, 3))))


class TiedAutoencoder(nn.Module):
    """An autoencoder whose decoder is the encoder's own weight, transposed by use.

    ``encoder.weight`` and ``decoder_weight`` are one parameter under two names, as the
    input and output embeddings of a language model often are.

    Args:
        code: length of the code an image is squeezed into.
    """

    def __init__(self, code: int = 8) -> None:
        super().__init__()
        self.encoder = nn.Linear(64, code)
        self.decoder_weight = self.encoder.weight
        self.decoder_bias = nn.Parameter(torch.zeros(64))

    def forward(self, images: Tensor) -> Tensor:
        """Map images ``(N, 1, 8, 8)`` to reconstructions of the same shape."""
        code = torch.relu(self.encoder(images.flatten(1)))
        return linear(code, self.decoder_weight.T, self.decoder_bias).view_as(images)


def _block(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, padding=1, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(),
        nn.MaxPool2d(2),
    )

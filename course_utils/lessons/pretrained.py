"""ResNet-18 with the weights that torchvision publishes, or a stand-in where they cannot come."""

import contextlib
import io
import socket
from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor
from torchvision.models import ResNet18_Weights, resnet18

PATIENCE = 10  # seconds without an answer; a firewall that drops packets gives none at all


class Pretrained(NamedTuple):
    """A state_dict of ResNet-18, whether it is the published one, and a sentence that says so."""

    state_dict: dict[str, Tensor]
    published: bool
    message: str


def imagenet_resnet18(
    weights: ResNet18_Weights = ResNet18_Weights.IMAGENET1K_V1,
) -> Pretrained:
    """Download the published weights (47 MB, kept by torch.hub), or make random ones offline.

    Args:
        weights: which published weights.

    Raises:
        RuntimeError: the download does not match the hash in its name.
    """
    try:
        with _silence(), _patience(PATIENCE):
            # The unsafe weights_only=False is still the default of this way to load.
            state_dict = dict(
                weights.get_state_dict(progress=False, check_hash=True, weights_only=True)
            )
    except OSError as error:  # URLError, timeouts, and a cache that cannot be written
        return Pretrained(_random_weights(), False, _apology(weights, error))
    return Pretrained(state_dict, True, f"Loaded the published weights {weights}.")


def _apology(weights: ResNet18_Weights, error: OSError) -> str:
    reason = getattr(error, "reason", error)
    return (
        f"The published weights could not be downloaded ({reason}). In their place stand random "
        "weights of the same names and shapes: right for showing how to load, wrong for any "
        f"prediction. To get the real ones, open {weights.url} elsewhere and put the file into "
        "the folder 'checkpoints' under torch.hub.get_dir()."
    )


def _random_weights() -> dict[str, Tensor]:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return dict(resnet18().state_dict())


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    """torch.hub prints the cache's folder."""
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        yield


@contextlib.contextmanager
def _patience(seconds: float) -> Iterator[None]:
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(seconds)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)

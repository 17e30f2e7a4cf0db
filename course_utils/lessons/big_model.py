"""A model of 512 MiB, and the ways to load it, to measure how much memory each one takes."""

from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from torch import nn

from course_utils.checkpoint import restore_checkpoint
from course_utils.devices.meta_device import empty_parameters, load_into_meta

WIDTH, LAYERS = 4096, 8
NBYTES = LAYERS * WIDTH * WIDTH * 4


def build() -> nn.Sequential:
    """Eight linear layers without bias, 64 MiB of float32 each."""
    return nn.Sequential(*(nn.Linear(WIDTH, WIDTH, bias=False) for _ in range(LAYERS)))


def save(path: Path) -> None:
    """Save the model with constant weights: making random ones would take longer than loading."""
    with empty_parameters():
        model = build()
    torch.save({key: torch.full(v.shape, 1e-3) for key, v in model.state_dict().items()}, path)


def plain(path: str) -> nn.Module:
    """Build, load, copy: the model and the file's tensors are in memory together."""
    model = build()
    model.load_state_dict(torch.load(path))
    return model


def mapped(path: str) -> nn.Module:
    """The same with the file mapped: its pages count as soon as they are copied from."""
    model = build()
    model.load_state_dict(torch.load(path, mmap=True))
    return model


def meta_assign(path: str) -> nn.Module:
    """Build without memory, then take over the file's tensors."""
    with torch.device("meta"):
        model = build()
    model.load_state_dict(torch.load(path), assign=True)
    return model


def meta_mapped_assign(path: str) -> nn.Module:
    """Build without memory, then take over tensors that are still on the disk."""
    with torch.device("meta"):
        model = build()
    model.load_state_dict(torch.load(path, mmap=True), assign=True)
    return model


def checked(path: str) -> nn.Module:
    """The package's way: read each tensor once, with its checksum."""
    with empty_parameters():
        model = build()
    load_into_meta(model, path)
    return model


def restored(path: str) -> nn.Module:
    """The package's way into a model that is there: read into its memory, all verified before."""
    model = build()
    restore_checkpoint(path, model)
    return model


WAYS: dict[str, Callable[[str], nn.Module]] = {
    way.__name__: way for way in (plain, mapped, restored, meta_assign, checked, meta_mapped_assign)
}


def load_and_use(way: str, path: str) -> Iterator[str]:
    """The phases to measure: loading, then one forward pass that needs every weight."""
    torch.set_num_threads(1)
    model = WAYS[way](path)
    yield "load"
    with torch.no_grad():
        model(torch.ones(1, WIDTH))
    yield "use"

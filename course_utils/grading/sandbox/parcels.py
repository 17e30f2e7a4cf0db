"""Objects of PyTorch as bytes: what they share, where they lie and what they are stays to be seen.

Probes send them; what they hold is read where no student's code has run. A tensor that lies about
itself arrives as what it is, or not at all.
"""

import warnings
from io import BytesIO
from typing import Any

import torch
from torch import Tensor, nn


def saved(value: Any) -> bytes:
    """Return what ``torch.save`` writes of a value."""
    file = BytesIO()
    torch.save(value, file)
    return file.getvalue()


def loaded(data: bytes) -> Any:
    """Return what `saved` was given: sharing, dtypes, strides and the meta device as they were.

    Raises:
        pickle.UnpicklingError: it holds more than tensors and plain values.
    """
    return torch.load(BytesIO(data), weights_only=True)


def traced(module: Any, example: Tensor) -> bytes:
    """Return the TorchScript file of a trace."""
    for part in module.modules() if isinstance(module, nn.Module) else ():
        if not all(word.isidentifier() for word in type(part).__module__.split(".")):
            type(part).__module__ = "answer"  # the file names it, and takes only such names
    file = BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.save(torch.jit.trace(module, example, check_trace=False), file)
    return file.getvalue()


def untraced(data: bytes) -> Any:
    """Return the module of a TorchScript file: a program, to be run behind walls only."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return torch.jit.load(BytesIO(data))


def tensors(value: Any) -> list[Tensor]:
    """Return all tensors in nested containers."""
    if isinstance(value, Tensor):
        return [value]
    if isinstance(value, dict):
        return [tensor for item in value.values() for tensor in tensors(item)]
    if isinstance(value, list | tuple):
        return [tensor for item in value for tensor in tensors(item)]
    return []


def place(tensor: Tensor) -> int:
    """Return a number that tensors have in common if they share memory."""
    return tensor.untyped_storage().data_ptr()

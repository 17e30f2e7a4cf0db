"""Reference answer of exercise 10.2."""

from typing import Any

from torch import Tensor


def weights_of(checkpoint: dict[str, Any], name: str) -> dict[str, Tensor]:
    """Return the state_dict of the module in the attribute `name`."""
    found = {}
    for key, tensor in checkpoint["state_dict"].items():
        first, *rest = key.split(".")
        if first == name:
            found[".".join(part for part in rest if part != "_orig_mod")] = tensor
    if not found:
        raise KeyError(f"there is no {name} in the checkpoint")
    return found

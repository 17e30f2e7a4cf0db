"""Where a checkpoint's tensors go: which devices a file names, and which one to load to."""

import os
import warnings
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_map_only

from course_utils.anatomy.archive import read_archive
from course_utils.devices.meta_device import empty_parameters, load_into_meta
from course_utils.errors import MissingDeviceError

__all__ = [
    "empty_parameters",
    "load_into_meta",
    "move_optimizer",
    "resolve_map_location",
    "storage_locations",
]

MapLocation = torch.device | dict[str, str] | Callable[[Any, str], Any]
Policy = str | torch.device | Mapping[str, str] | Callable[[Any, str], Any] | None

LOCAL_RANK = "local rank"


def storage_locations(path: str | os.PathLike[str]) -> dict[str, list[str]]:
    """Return the location tags a file holds, with the names of their tensors. Loads nothing.

    Raises:
        CheckpointError: the file cannot be read; see `anatomy.read_archive`.
    """
    locations: dict[str, list[str]] = {}
    for tensor in read_archive(path).tensors.values():
        locations.setdefault(tensor.device, []).append(tensor.name)
    return locations


def resolve_map_location(policy: Policy, path: str | os.PathLike[str]) -> MapLocation:
    """Turn a wish into a ``map_location`` that will work here with this file.

    Args:
        policy: a device ("cpu", "cuda", "cuda:1", "mps", "meta", or a ``torch.device``);
            "local rank" for the GPU of this process under torchrun, the CPU where there is no
            GPU; a dict from tags to devices; a function of storage and tag; or None for the
            devices the file names.
        path: the file to be loaded.

    Raises:
        MissingDeviceError: a tensor would go to a device that this machine lacks.
        CheckpointError: the file cannot be read.

    Warns:
        UserWarning: a dict leaves a GPU's tag of the file where it is.
    """
    tags = storage_locations(path)
    if policy is None:
        policy = {tag: tag for tag in tags}
    if isinstance(policy, str | torch.device):
        return _present(_device(policy), f"map_location={str(policy)!r}")
    if isinstance(policy, Mapping):
        return _checked_dict(policy, tags, path)
    if callable(policy):
        return _checked_function(policy, path)
    raise MissingDeviceError(
        f"map_location={policy!r} is no device; a GPU's number is written 'cuda:{policy}'"
    )


def move_optimizer(optimizer: torch.optim.Optimizer) -> None:
    """Bring an optimizer's state to the devices of its parameters, in place.

    Call it when a model was moved after its optimizer had state. The counter ``step`` stays on
    the CPU, where reading it costs nothing, unless the group is ``fused`` or ``capturable``: then
    it belongs beside the parameter. ``capturable`` is switched off for parameters on the CPU,
    which knows no CUDA graphs and refuses it.
    """
    for group in optimizer.param_groups:
        on_cpu = all(parameter.device.type == "cpu" for parameter in group["params"])
        if on_cpu and group.get("capturable"):
            group["capturable"] = False
        step_follows = group.get("fused") or group.get("capturable")
        for parameter in group["params"]:
            state = optimizer.state.get(parameter, {})
            for key, value in state.items():
                stays = key == "step" and not step_follows
                state[key] = _moved(value, torch.device("cpu") if stays else parameter.device)


def _moved(value: Any, device: torch.device) -> Any:
    return tree_map_only(Tensor, lambda tensor: tensor.to(device), value)


def _device(policy: str | torch.device) -> torch.device:
    if policy != LOCAL_RANK:
        try:
            return torch.device(policy)
        except RuntimeError as error:
            raise MissingDeviceError(f"{policy!r} is no device: {error}") from None
    if "LOCAL_RANK" not in os.environ:
        raise MissingDeviceError(
            "map_location='local rank': LOCAL_RANK is not set; start the program with torchrun"
        )
    if not torch.cuda.is_available():
        return torch.device("cpu")
    return torch.device("cuda", int(os.environ["LOCAL_RANK"]))


def _present(device: torch.device, wish: str) -> torch.device:
    """Return the device, or say what this machine has instead."""
    count = _count(device.type)
    if (device.index or 0) < count:
        return device
    here = f"{count} of that kind" if count else "none"
    raise MissingDeviceError(
        f"{wish} wants the device {device}, but this machine has {here}. "
        "Use map_location='cpu', then move the model to the device you have."
    )


def _count(kind: str) -> int:
    if kind in ("cpu", "meta"):
        return 1
    if not hasattr(torch, kind):
        return 0
    module = torch.get_device_module(kind)
    return module.device_count() if module.is_available() else 0


def _checked_dict(
    policy: Mapping[str, str], tags: Mapping[str, Any], path: str | os.PathLike[str]
) -> dict[str, str]:
    for tag in tags:
        goes_to = policy.get(tag, tag)
        _present(_device(goes_to), f"{path}: tag {tag!r} under map_location={dict(policy)}")
        if tag not in policy and tag != "cpu":
            warnings.warn(
                f"{path}: map_location={dict(policy)} does not name the tag {tag!r}; "
                f"its tensors stay on {goes_to}",
                stacklevel=3,
            )
    return dict(policy)


def _checked_function(
    policy: Callable[[Any, str], Any], path: str | os.PathLike[str]
) -> Callable[[Any, str], Any]:
    """Where the function returns None, torch falls back on the tag: say if that cannot be."""

    def checked(storage: Any, tag: str) -> Any:
        result = policy(storage, tag)
        if result is None:
            _present(_device(tag), f"{path}: tag {tag!r}, for which map_location returned None,")
        return result

    return checked

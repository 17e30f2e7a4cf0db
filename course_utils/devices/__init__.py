"""Lesson 04: where a checkpoint's tensors go, and large models in little memory."""

from course_utils.extras import require

require("torch", "torch")

from course_utils.devices.map_location import (
    move_optimizer,
    resolve_map_location,
    storage_locations,
)
from course_utils.devices.meta_device import empty_parameters, load_into_meta

__all__ = [
    "empty_parameters",
    "load_into_meta",
    "move_optimizer",
    "resolve_map_location",
    "storage_locations",
]

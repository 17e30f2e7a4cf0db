"""Lesson 03: load the part of a checkpoint that fits."""

from course_utils.extras import require

require("torch", "torch")

from course_utils.partial.names import WRAPPERS, match_keys, prefixes, recognised
from course_utils.partial.plan import LoadPlan, plan_partial_load
from course_utils.partial.report import LoadReport
from course_utils.partial.shapes import (
    adapt_input_channels,
    grow_embedding,
    interpolate_positions,
    keep_rows,
    match_rows,
)

__all__ = [
    "WRAPPERS",
    "LoadPlan",
    "LoadReport",
    "adapt_input_channels",
    "grow_embedding",
    "interpolate_positions",
    "keep_rows",
    "match_keys",
    "match_rows",
    "plan_partial_load",
    "prefixes",
    "recognised",
]

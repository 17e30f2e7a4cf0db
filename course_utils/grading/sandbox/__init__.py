"""Runs code of strangers: behind walls, within limits, and believes nothing it says."""

from course_utils.grading.sandbox.runner import Cell, Limits, Record, Sandbox

__all__ = [
    "Cell",
    "Limits",
    "Record",
    "Sandbox",
]

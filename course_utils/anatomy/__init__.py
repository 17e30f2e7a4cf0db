"""Lesson 01: what a state_dict or a ``.pt`` file holds, told without running the file's pickle."""

from course_utils.anatomy.archive import (
    Archive,
    read_archive,
    read_record,
    read_tensors,
    summarize,
)
from course_utils.formats.byte_map import Span, byte_map

__all__ = [
    "Archive",
    "Span",
    "byte_map",
    "read_archive",
    "read_record",
    "read_tensors",
    "summarize",
]

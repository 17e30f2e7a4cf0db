"""Lesson 06: files from strangers."""

from course_utils.safety.audit import LIMIT, Audit, audit, load_untrusted
from course_utils.safety.convert import Conversion, convert

__all__ = [
    "LIMIT",
    "Audit",
    "Conversion",
    "audit",
    "convert",
    "load_untrusted",
]

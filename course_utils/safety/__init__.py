"""Lesson 06: files from strangers."""

from course_utils.safety.audit import Audit, audit
from course_utils.safety.convert import Conversion, convert
from course_utils.safety.untrusted import LIMIT, load_untrusted

__all__ = [
    "LIMIT",
    "Audit",
    "Conversion",
    "audit",
    "convert",
    "load_untrusted",
]

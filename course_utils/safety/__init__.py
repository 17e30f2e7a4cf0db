"""Lesson 06: files from strangers."""

from typing import TYPE_CHECKING, Any

from course_utils.safety.audit import Audit, audit
from course_utils.safety.convert import Conversion, convert

if TYPE_CHECKING:
    from course_utils.safety.untrusted import LIMIT, load_untrusted

__all__ = [
    "LIMIT",
    "Audit",
    "Conversion",
    "audit",
    "convert",
    "load_untrusted",
]


def __getattr__(name: str) -> Any:
    """Load what needs torch when it is asked for: an audit does without."""
    if name not in ("LIMIT", "load_untrusted"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from course_utils.safety import untrusted

    return getattr(untrusted, name)

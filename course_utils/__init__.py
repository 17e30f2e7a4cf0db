"""Save and load PyTorch models: the implementation behind the course's lessons.

One wing a topic, named like its lesson. The names everybody imports stand here as well:
``from course_utils import save_checkpoint, load_checkpoint``.
"""

import importlib
import sys
from typing import Any

from course_utils import former_names

_NAMES = {
    "AsyncCheckpointer": "checkpoint",
    "CheckpointManager": "checkpoint",
    "load_checkpoint": "checkpoint",
    "save_checkpoint": "checkpoint",
    "TrainState": "resume",
    "plan_partial_load": "partial",
    "audit": "safety",
    "load_untrusted": "safety",
}
__all__ = [*_NAMES]

sys.meta_path.insert(0, former_names._Finder())


def __getattr__(name: str) -> Any:
    """Load a name when it is asked for: importing torch takes a second."""
    if name == "__version__":
        return _version()
    if name not in _NAMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_NAMES[name]}"), name)


def _version() -> str:
    from importlib import metadata  # takes longer than the rest of this file

    try:
        return metadata.version("course-utils")
    except metadata.PackageNotFoundError:  # a checkout on the path, never installed
        return "unknown"

"""A file whose code acts when it is loaded, and whether it did: it makes a folder, and no more.

Several roads lead to the kernel's call, so that no patch of one function hides that code has run.
"""

import os
from typing import Any

from course_utils.grading.exercise import Observation

TRACE = "made_by_the_file"
KINDS = ("function", "command", "program")
_PROGRAM = f"import ctypes; ctypes.CDLL(None).mkdir({TRACE.encode()!r}, 0o700)"


class Acts:
    """A stand-in for what an attacker would put into a pickle.

    Args:
        kind: one of `KINDS`: a function of Python, a command of the shell, or Python code.
    """

    def __init__(self, kind: str) -> None:
        self.kind = kind

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        calls: dict[str, tuple[Any, tuple[str]]] = {
            "function": (os.mkdir, (TRACE,)),
            "command": (os.system, (f"mkdir {TRACE}",)),
            "program": (exec, (_PROGRAM,)),
        }
        return calls[self.kind]


class Folder:
    """Makes a folder when it is built: an object whose loading is seen from outside."""

    def __init__(self, name: str = TRACE) -> None:
        os.mkdir(name)

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return Folder, (TRACE,)


def acted(seen: Observation) -> bool:
    """Whether the folder was made, be it removed again."""
    made = any(call.endswith(TRACE) for call in seen.calls if call.startswith("mkdir "))
    return made or TRACE in seen.left

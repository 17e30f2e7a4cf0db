"""Pickles by joblib: between their instructions lie the numbers of arrays, as they are in memory.

The layout is that of ``joblib.numpy_pickle.NumpyArrayWrapper``. Any other unpickler takes these
numbers for instructions.
"""

import re
from itertools import islice
from math import prod
from typing import Any

from course_utils.formats.judge import ENCODE
from course_utils.formats.pickle import Pickle, scan_pickle
from course_utils.formats.pickle_instructions import run
from course_utils.formats.pickle_machine import Machine
from course_utils.formats.pickle_nodes import Call, Global, describe
from course_utils.formats.source import Window
from course_utils.formats.storages import sizes_of
from course_utils.formats.trees import nodes

WRAPPERS = {
    f"{package}joblib.numpy_pickle.NumpyArrayWrapper" for package in ("", "sklearn.externals.")
}
MOST_FIELDS = 1000  # in the dtype of an array, and what describes them
_DTYPE = re.compile(r"([biufcmMSUVO])(\d+)")
# https://github.com/jax-ml/ml_dtypes: all but three take a byte, of however few bits they are.
_ML_DTYPES = {"bfloat16": "V2", "complex32": "V4", "bcomplex32": "V4"}
_SHORT = re.compile(r"u?int[124]|float[468]_e\w+")


def read_with_arrays(file: Window, start: int, content: Pickle) -> Pickle:
    """Read a pickle again as joblib would, if it is one by joblib; leave the file after it.

    Args:
        file: where it is.
        start: its position in the file.
        content: what another unpickler would do with it.

    Returns:
        What both would do, without the problem that only the other one has with the numbers; what
        was given, if it is not by joblib or joblib could not read it either.
    """
    if not any(map(_is_wrapper, content.calls)):
        return content
    end = file.tell()
    file.seek(start)
    read = scan_pickle(file, _Reader(file))
    if read.problem:
        file.seek(end)
        return content
    return read._replace(
        globals=read.globals | content.globals,
        calls=read.calls + content.calls,
        changed=[*read.changed, *content.changed],
    )


class _UnreadableError(ValueError):
    """An array is cut off, or of a kind that is not known here."""


class _Reader(Machine):
    """Passes over the numbers of an array when the object that stands for it is complete."""

    def __init__(self, file: Window) -> None:
        super().__init__()
        self._file = file

    def built(self, target: Call) -> None:
        """Read what follows the instruction, as joblib does."""
        if not _is_wrapper(target):
            return
        self.check_frame(self._file.tell())
        size = _size(target.state)
        if size is None:
            self._read_objects()
        else:
            aligned = target.state.get("numpy_array_alignment_bytes") is not None
            padding = (self._file.read(1) or b"\0")[0] if aligned else 0
            if self._file.tell() + padding + size > self._file.size:
                raise _UnreadableError("it ends within an array")
            self._file.seek(padding + size, 1)
        self.stack[-1] = Call(target.state.get("subclass"), ())

    def _read_objects(self) -> None:
        inner = Machine()
        run(inner, self._file)
        self.globals |= inner.globals
        self.calls += inner.calls
        self.persistent += inner.persistent
        self.changed += inner.changed
        self.problem = self.problem or inner.problem


def _is_wrapper(call: Call) -> bool:
    return describe(call.function) in WRAPPERS


def _size(state: Any) -> int | None:
    """Return the bytes of an array; None for one of Python's objects, which is a pickle."""
    if not isinstance(state, dict):
        raise _UnreadableError("an array of joblib says nothing of itself")
    width = _width(state.get("dtype"))
    return None if width is None else width * prod(sizes_of(state.get("shape")))


def _width(dtype: Any) -> int | None:
    """Return the bytes of an element; None if it is, or has in it, an object of Python."""
    found = _DTYPE.fullmatch(_code(dtype))
    if not found or not isinstance(dtype.state, tuple):
        raise _UnreadableError("an array of joblib is of an unknown dtype")
    inside = list(islice(nodes(dtype.state), MOST_FIELDS + 1))
    calls = [node for node in inside if isinstance(node, Call)]
    codes = [found[0], *(_code(call) for call in calls if describe(call.function) != ENCODE)]
    if len(inside) > MOST_FIELDS or not all(map(_DTYPE.fullmatch, codes)):
        raise _UnreadableError("an array of joblib has fields of an unknown dtype")
    if any(code.startswith("O") for code in codes):
        return None
    return int(found[2]) * (4 if found[1] == "U" else 1)


def _code(dtype: Any) -> str:
    match dtype:
        case Call(arguments=(str(code), *_)) if describe(dtype.function) == "numpy.dtype":
            return code
        case Call(arguments=(Global(module="ml_dtypes", name=name), *_)):
            return _ML_DTYPES.get(name, "V1" if _SHORT.fullmatch(name) else "")
    return ""

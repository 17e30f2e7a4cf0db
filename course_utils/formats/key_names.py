"""How a dictionary's key is written in the dotted path of what stands under it."""

from typing import Any

from course_utils.formats.pickle_nodes import describe

MOST = 8  # parts of a tuple that are written out


def key_name(key: Any) -> str:
    """Return a key as a part of a path: PyTorch Geometric's are tuples of names, for example."""
    if isinstance(key, str):
        return key
    if isinstance(key, bytes):
        return repr(key[:60])
    if type(key) is tuple and len(key) <= MOST and all(isinstance(part, _PLAIN) for part in key):
        return f"({', '.join(map(describe, key))}{',' if len(key) == 1 else ''})"
    return describe(key)


_PLAIN = (str, int, float, bool, type(None))

"""How a dictionary's key is written in the dotted path of what stands under it.

Two keys that differ are written differently, as long as they are not large: paths are what tensors
of two files are matched by.
"""

from typing import Any

from course_utils.formats.checksum import crc32
from course_utils.formats.pickle_nodes import Call, describe
from course_utils.formats.plain_nodes import SetOf, called, plain

MOST = 8  # parts of one tuple, set or call that are written out
DEEPEST = 4  # of them in one another
LONGEST = 1000  # characters of a text among them that are written out


def key_name(key: Any) -> str:
    """Return a key as a part of a path: PyTorch Geometric's are tuples of names, for example."""
    return key if isinstance(key, str) else _written(key)


def _written(key: Any, depth: int = DEEPEST) -> str:
    if isinstance(key, str | bytes):
        return _text(key)
    if type(key) is int and abs(key) >= 2**64:
        return hex(key)
    if depth and type(key) is tuple and len(key) <= MOST:
        return f"({_listed(key, depth)}{',' if len(key) == 1 else ''})"
    if depth and isinstance(key, Call) and isinstance(key.arguments, tuple):
        return _call(key, depth)
    return describe(key)


def _call(key: Call, depth: int) -> str:
    name, value = called(key), plain(key)
    if isinstance(value, bytes):
        return _text(value)
    if isinstance(value, SetOf) and value.is_frozen:  # in any order
        parts = sorted(_written(item, depth - 1) for item in value.items[:MOST])
        return f"{name}({', '.join(parts)}{', …' * (len(value.items) > MOST)})"
    state = () if key.state is None else (key.state,)
    return f"{name}({_listed((*key.arguments, *state), depth)})"


def _listed(parts: tuple[Any, ...], depth: int) -> str:
    written = [_written(part, depth - 1) for part in parts[:MOST]]
    return ", ".join(written + ["…"] * (len(parts) > MOST))


def _text(text: str | bytes) -> str:
    if len(text) <= LONGEST:
        return repr(text)
    data = text if isinstance(text, bytes) else text.encode("utf-8", "surrogatepass")
    return f"{text[:60]!r}… with CRC-32 {crc32(data):08x}"

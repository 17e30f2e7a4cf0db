"""Tells names that wrappers put into the keys of a state_dict from a model's own."""

import re
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from course_utils.formats.wrappers import WRAPPERS

PARALLEL = "module"  # of DataParallel and others; many models have a child of that name as well
# Nothing but the wrapper itself writes these, wherever they stand in a key.
PRIVATE = tuple(sorted(WRAPPERS - {PARALLEL}))
AVERAGES = {"ema", "averaged", "average", "swa", "shadow"}  # keep `module.` as their own


class Wrapped(NamedTuple):
    """A state_dict whose keys hold a wrapper's name: its path, the name, and which keys do."""

    path: str
    name: str
    keys: tuple[str, ...]


def find_wrapped(weights: dict[str, dict[str, Any]]) -> Iterator[Wrapped]:
    """Yield the state_dicts in which a wrapper has left its name.

    ``module.`` counts only where every key of a state_dict begins with it, and where it is not
    named for an average: ``AveragedModel`` and others keep the prefix, and need it to load.

    Args:
        weights: state_dicts by path, see `parts.Parts`.
    """
    for path, state in weights.items():
        for name in PRIVATE:
            keys = tuple(key for key in state if name in key.split(".")[:-1])
            if keys:
                yield Wrapped(path, name, keys)
        if _all_begin_with_module(state) and not _is_average(path):
            yield Wrapped(path, PARALLEL, tuple(state))


def strips_rightly(found: Wrapped, weights: dict[str, dict[str, Any]]) -> bool:
    """Whether `strip-prefix` would change this state_dict and no other in the file."""
    others = (state for path, state in weights.items() if path != found.path)
    return not any(found.name in key.split(".")[:-1] for state in others for key in state)


def _all_begin_with_module(keys: Iterable[str]) -> bool:
    """Whether ``module`` is the first part of every key that is no other wrapper's."""
    bare = ([part for part in key.split(".") if part not in PRIVATE] for key in keys)
    found = [len(parts) > 1 and parts[0] == PARALLEL for parts in bare]
    return bool(found) and all(found)


def _is_average(path: str) -> bool:
    return bool(AVERAGES.intersection(re.split(r"[^a-z]+", path.lower())))

"""Which key of a checkpoint belongs to which key of a model."""

import difflib
import re
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

from course_utils.errors import MismatchedCheckpointError
from course_utils.formats.wrappers import WRAPPERS as WRAPPERS  # public here too

Rename = Mapping[str, str] | Sequence[tuple[str, str]] | Callable[[str], str | None]


def match_keys(
    source: Collection[str], target: Collection[str], rename: Rename | None = None
) -> dict[str, str]:
    """Say under which name each key of a checkpoint would be loaded.

    Args:
        source: the checkpoint's keys.
        target: the model's keys.
        rename: a mapping from source key to target key; or pairs of a regular expression and
            its replacement, applied to every key in turn; or a function from source key to
            target key, or to None to leave the key out. None recognises what wrappers and
            nesting add (see ``recognised``); ``{}`` takes every key as it is.

    Returns:
        New name of every source key that is kept.

    Raises:
        MismatchedCheckpointError: two source keys get one name, or a mapping names a key
            that the checkpoint lacks.
    """
    if rename is None:
        found = recognised(source, target)
        names = {key: found.get(key, key) for key in source}
    else:
        new_name = _as_function(rename, source)
        names = {key: name for key in source if (name := new_name(key)) is not None}
    _refuse_collisions(names)
    return names


def recognised(source: Collection[str], target: Collection[str]) -> dict[str, str]:
    """Find the source keys that equal a target key but for what wrappers and nesting add.

    A wrapper's name may stand anywhere in a key (``backbone._orig_mod.weight``), any number of
    times. Beyond that the two may differ by one leading prefix (``model.``, ``backbone.``) on
    either side: the one by which the most keys match. A tie between prefixes is no match.

    Returns:
        Target key of each source key that matches under a changed name.
    """
    bare_target = {_unwrapped(key): key for key in target}
    if len(bare_target) < len(target):
        return {}  # the model itself tells keys apart by such a name
    prefix, added = _best_prefix([_unwrapped(key) for key in source], list(bare_target))
    found = {}
    for key in source:
        bare = _unwrapped(key)
        match = bare_target.get(prefix + bare if added else bare.removeprefix(prefix))
        if match is not None and match != key:
            found[key] = match
    return found


def prefixes(source: Iterable[str], target: Iterable[str]) -> Counter[str]:
    """Count, for each leading prefix of source keys, how many target keys follow it."""
    wanted = set(target)
    return Counter(key[:cut] for key in source for cut in _starts(key) if key[cut:] in wanted)


def _best_prefix(source: list[str], target: list[str]) -> tuple[str, bool]:
    """The prefix to drop from source keys, or to add to them (then the second is True)."""
    counts = {(prefix, False): n for prefix, n in prefixes(source, target).items()}
    counts |= {(prefix, True): n for prefix, n in prefixes(target, source).items() if prefix}
    most = max(counts.values(), default=0)
    best = [choice for choice, n in counts.items() if n == most]
    if len(best) != 1 or counts.get(("", False), 0) == most:
        return "", False
    return best[0]


def _starts(key: str) -> list[int]:
    """Where the key's dotted parts start."""
    return [0, *(dot.end() for dot in re.finditer(r"\.", key))]


def _unwrapped(key: str) -> str:
    return ".".join(part for part in key.split(".") if part not in WRAPPERS)


def _as_function(rename: Rename, source: Collection[str]) -> Callable[[str], str | None]:
    if callable(rename):
        return rename
    if isinstance(rename, Mapping):
        _refuse_unknown(rename, source)
        return lambda key: rename.get(key, key)
    patterns = [(re.compile(pattern), replacement) for pattern, replacement in rename]

    def substitute(key: str) -> str:
        for pattern, replacement in patterns:
            key = pattern.sub(replacement, key)
        return key

    return substitute


def _refuse_unknown(rename: Mapping[str, str], source: Collection[str]) -> None:
    for key in rename:
        if key not in source:
            near = difflib.get_close_matches(key, source, n=1)
            hint = f"; did you mean '{near[0]}'?" if near else ""
            raise MismatchedCheckpointError(f"rename: the checkpoint has no key '{key}'{hint}")


def _refuse_collisions(names: Mapping[str, str]) -> None:
    owners: dict[str, str] = {}
    for key, name in names.items():
        if name in owners:
            raise MismatchedCheckpointError(
                f"rename: '{owners[name]}' and '{key}' would both be loaded into '{name}'; "
                "leave one out: rename may be a function that returns None for it"
            )
        owners[name] = key

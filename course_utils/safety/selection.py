"""Which tensors of a file are converted, and under which names."""

import re
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from course_utils.errors import MismatchedCheckpointError, UnsupportedCheckpointError
from course_utils.formats.contents import Contents
from course_utils.formats.modules import find_modules
from course_utils.formats.tensors import TensorInfo


@dataclass(frozen=True)
class Choice:
    """What to take from a file, and how to name it.

    Attributes:
        key: only what stands under this dotted path, which goes from the names.
        only: patterns as of a shell (``encoder.*``); a name must match one of them, if there are.
        exclude: patterns that no name may match.
        rename: regular expressions and their replacements, applied to every name in turn.
    """

    key: str | None = None
    only: Sequence[str] = ()
    exclude: Sequence[str] = ()
    rename: Sequence[tuple[str, str]] = ()

    def name(self, name: str) -> str | None:
        """Return the new name of a tensor; None if it is not chosen."""
        if self.key is not None:
            if not name.startswith(f"{self.key}."):
                return None
            name = name[len(self.key) + 1 :]
        if self.only and not _matches(name, self.only):
            return None
        if _matches(name, self.exclude):
            return None
        for pattern, replacement in self.rename:
            name = re.sub(pattern, replacement, name)
        return name


@dataclass(frozen=True)
class Selection:
    """The tensors that were chosen.

    Attributes:
        tensors: by their new names.
        excluded: names of those that were not.
        modules: classes of modules that were pickled whole, by their path.
        left_out: what in these modules is no parameter and no persistent buffer.
    """

    tensors: dict[str, TensorInfo]
    excluded: tuple[str, ...]
    modules: dict[str, str]
    left_out: tuple[str, ...]


def select(contents: Contents, choice: Choice) -> Selection:
    """Choose tensors. Those of whole modules get the names that a state_dict gives them.

    Raises:
        UnsupportedCheckpointError: a chosen tensor cannot be read, or has no name of its own.
        MismatchedCheckpointError: nothing was chosen, or two tensors get one name.
    """
    modules = find_modules(contents.tree)
    names = {old: new for module in modules for old, new in module.names.items()}
    inside = tuple(f"{module.path}." if module.path else "" for module in modules)
    chosen: dict[str, TensorInfo] = {}
    excluded, left_out = [], []
    for name in [*contents.tensors, *contents.others]:
        info = contents.tensors.get(name)
        if info is not None and info.part_of is not None:
            continue  # its whole is named
        if name not in names and name.startswith(inside):
            left_out.append(f"{name}, which is no parameter or persistent buffer")
            continue
        new = choice.name(names.get(name, name))
        if new is None:
            excluded.append(name)
            continue
        if info is None:
            raise _unreadable(contents, name)
        if new in chosen:
            raise MismatchedCheckpointError(
                f"{contents.path}: {chosen[new].name} and {name} would both be called {new!r}."
            )
        _refuse_twins(contents, name, new)
        chosen[new] = info
    if not chosen and excluded:
        raise MismatchedCheckpointError(_nothing(contents, choice))
    classes = {module.path: module.kind for module in modules}
    return Selection(chosen, tuple(excluded), classes, tuple(left_out))


def _matches(name: str, patterns: Iterable[str]) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns)


def _unreadable(contents: Contents, name: str) -> UnsupportedCheckpointError:
    other = contents.others[name]
    return UnsupportedCheckpointError(
        f"{contents.path}: tensor {name} ({other.kind}) cannot be converted: {other.reason}. "
        "Nothing written; exclude it, or save it as a plain tensor."
    )


def _refuse_twins(contents: Contents, name: str, new: str) -> None:
    first = name.rstrip("'")
    if name == new and first != name and first in contents.collided:
        raise UnsupportedCheckpointError(
            f"{contents.path}: two tensors have the dotted name {first}. Nothing written; rename "
            f"or exclude the second, which is listed as {name}."
        )


def _nothing(contents: Contents, choice: Choice) -> str:
    if choice.key is not None:
        names: Collection[str] = [*contents.tensors, *contents.others]
        tops = ", ".join(sorted({name.partition(".")[0] for name in names})[:9])
        if not any(name.startswith(f"{choice.key}.") for name in names):
            return f"{contents.path}: no tensor stands under {choice.key!r}. There are: {tops}."
    return f"{contents.path}: no tensor matches; nothing written."

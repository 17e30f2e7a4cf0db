"""Writes a better copy of a checkpoint: without a wrapper's prefix, without bytes nobody sees."""

import os
from pathlib import Path
from typing import Any

from course_utils.checkpoint import load_checkpoint, save_checkpoint
from course_utils.errors import (
    CheckpointError,
    DamagedCheckpointError,
    MismatchedCheckpointError,
)
from course_utils.files.overwrite import require_free
from course_utils.partial.names import WRAPPERS


def slim(
    path: str | os.PathLike[str], out: str | os.PathLike[str], *, overwrite: bool = False
) -> tuple[int, int]:
    """Write a checkpoint again with only the elements that its tensors show.

    Tensors are mapped, not read, so the file may be larger than memory.

    Args:
        path: the checkpoint.
        out: the file to write.
        overwrite: whether ``out`` may be replaced if it exists; ``path`` itself never is.

    Returns:
        Bytes before and after.

    Raises:
        CheckpointError: it cannot be read, or the copy cannot be written.
    """
    require_free(out, path, overwrite)
    before = Path(path).stat().st_size
    save_checkpoint(out, _mapped(path), compact=True)
    return before, Path(out).stat().st_size


def strip_prefix(
    path: str | os.PathLike[str],
    out: str | os.PathLike[str],
    prefix: str | None = None,
    *,
    overwrite: bool = False,
) -> dict[str, str]:
    """Write a checkpoint again with a prefix taken from the keys of its state_dicts.

    Args:
        path: the checkpoint; its tensors are mapped, not read.
        out: the file to write.
        prefix: for example ``"backbone."``; None for what wrappers add, wherever it stands in a
            key (``module.``, ``_orig_mod.`` and others; see `renaming.WRAPPERS`).
        overwrite: whether ``out`` may be replaced if it exists; ``path`` itself never is.

    Returns:
        New key of each key that changed.

    Raises:
        MismatchedCheckpointError: no key has the prefix, or two keys would become one.
        CheckpointError: the file cannot be read, or the copy cannot be written.
    """
    require_free(out, path, overwrite)
    state = _mapped(path)
    renamed: dict[str, str] = {}
    new = _rename(state, prefix, renamed)
    if not renamed:
        wanted = f"the prefix {prefix!r}" if prefix else "a prefix that a wrapper adds"
        raise MismatchedCheckpointError(f"{path}: no key has {wanted}; nothing written.")
    save_checkpoint(out, new)
    return renamed


def _mapped(path: str | os.PathLike[str]) -> Any:
    try:
        return load_checkpoint(path, mmap=True, verify_mapped=True)
    except CheckpointError:
        raise
    except RuntimeError as error:  # torch's own: a tensor beyond its storage, say
        raise DamagedCheckpointError(f"{path}: torch cannot load it: {error}") from error


def _rename(node: Any, prefix: str | None, renamed: dict[str, str]) -> Any:
    if isinstance(node, list | tuple):
        return type(node)(_rename(item, prefix, renamed) for item in node)
    if not isinstance(node, dict):
        return node
    keys = {key: _stripped(key, prefix) for key in node}
    if len(set(keys.values())) < len(keys):
        raise MismatchedCheckpointError("two keys would get one name without the prefix")
    renamed |= {key: new for key, new in keys.items() if key != new}
    new: Any = type(node)(
        (keys[key], _rename(value, prefix, renamed)) for key, value in node.items()
    )
    metadata = getattr(node, "_metadata", None)
    if isinstance(
        metadata, dict
    ):  # versions of modules, by the module's path: keys without the dot
        new._metadata = type(metadata)(
            (_stripped(f"{name}.", prefix)[:-1], versions) for name, versions in metadata.items()
        )
    return new


def _stripped(key: Any, prefix: str | None) -> Any:
    if not isinstance(key, str):
        return key
    if prefix is not None:
        return key.removeprefix(prefix)
    *parts, last = key.split(".")  # the last names the tensor, not a module
    return ".".join([*(part for part in parts if part not in WRAPPERS), last])

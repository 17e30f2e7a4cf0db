"""Writes a copy of a file whose keys lack what a wrapper, or nesting, put before them."""

import argparse
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from course_utils.ckpt.report import FINE, Report, counted, not_taken
from course_utils.errors import MismatchedCheckpointError
from course_utils.files.checkpoint_writer import PICKLE, all_records, fresh_tree, write_checkpoint
from course_utils.files.read_back import equal_bytes, open_sound, pieces_of
from course_utils.files.safetensors_writer import write_safetensors
from course_utils.files.write_new import refuse_existing
from course_utils.formats.contents import SAFETENSORS, Contents
from course_utils.formats.pickle_nodes import Call, OrderedDictNode
from course_utils.formats.tensors import is_tensor
from course_utils.formats.trees import mismatch, nodes
from course_utils.formats.verify import rest_of
from course_utils.formats.wrappers import WRAPPERS
from course_utils.tables import Table

# A child of a model may well be named so: only where nothing stands beside it is it a wrapper.
COMMON = "module"


@dataclass(frozen=True)
class Stripped:
    """What was renamed.

    Attributes:
        path: the new file.
        renamed: new key of each key that changed.
        rest: what followed the end of the old file, and is not in the new one; None for nothing.
    """

    path: Path
    renamed: dict[str, str]
    rest: str | None = None


def strip_prefix(
    path: str | os.PathLike[str],
    out: str | os.PathLike[str],
    prefix: str | None = None,
    *,
    overwrite: bool = False,
) -> Stripped:
    """Write a file again with a prefix taken from the keys of its state_dicts.

    A state_dict is a dict in which tensors lie directly under names. The written file is read
    back and compared with its source before it takes its name: nothing but keys may differ.

    Args:
        path: a checkpoint or safetensors file; every checksum is verified.
        out: the file to create.
        prefix: for example ``"backbone."``; None for what wrappers add, wherever it stands in a
            key (``_orig_mod.`` and others; see `formats.wrappers`). ``module.`` counts only
            where all keys that begin alike have it, as a model's own child may be named so.
        overwrite: replace what stands at ``out``; never the file itself.

    Raises:
        MismatchedCheckpointError: no key has the prefix, or two keys would become one.
        CheckpointError: the file cannot be read, or holds what is not understood.
        CheckpointWriteError: nothing was written.
    """
    contents = open_sound(path, single=True)
    refuse_existing(out, [path], overwrite=overwrite)
    strip = _strip_safetensors if contents.kind == SAFETENSORS else _strip_checkpoint
    return Stripped(Path(out), strip(contents, out, prefix, overwrite), rest_of(contents))


def strippable(contents: Contents, prefix: str | None = None) -> dict[str, str]:
    """Return what `strip_prefix` would rename, from old to new keys; nothing is written.

    Raises:
        MismatchedCheckpointError: two keys would become one.
    """
    if contents.kind == SAFETENSORS:
        names = _new_names(contents, list(contents.tensors), prefix)
    else:
        names = {}
        for node in _state_dicts(contents.tree):
            names |= _new_names(contents, [key for key in node if isinstance(key, str)], prefix)
    return {old: new for old, new in names.items() if old != new}


def _strip_checkpoint(
    contents: Contents, out: str | os.PathLike[str], prefix: str | None, overwrite: bool
) -> dict[str, str]:
    tree, renamed = fresh_tree(contents), dict[str, str]()
    for node in _state_dicts(tree):
        names = _new_names(contents, [key for key in node if isinstance(key, str)], prefix)
        renamed |= {old: new for old, new in names.items() if old != new}
        _rename(node, names)
        metadata = _metadata(node)
        if metadata is not None:
            _rename(metadata, _module_names(metadata, _stripper(names, prefix)))
    _refuse_nothing(contents, renamed, prefix)
    write_checkpoint(
        out, contents, tree, all_records(contents), lambda new: _mismatch(contents, new, prefix),
        overwrite=overwrite,
    )  # fmt: skip
    return renamed


def _strip_safetensors(
    contents: Contents, out: str | os.PathLike[str], prefix: str | None, overwrite: bool
) -> dict[str, str]:
    # An entry of the metadata may say that a name stands for another tensor.
    aliases = {k: v for k, v in contents.tree.items() if v in contents.tensors}
    names = _new_names(contents, [*contents.tensors, *aliases], prefix)
    renamed = {old: new for old, new in names.items() if old != new}
    _refuse_nothing(contents, renamed, prefix)
    metadata = {
        names[key] if key in aliases else key: names[value] if key in aliases else value
        for key, value in contents.tree.items()
    }
    tensors = {names[name]: info for name, info in contents.tensors.items()}
    write_safetensors(out, contents, tensors, metadata, overwrite=overwrite)
    return renamed


def _state_dicts(tree: Any) -> list[dict[Any, Any]]:
    return [
        node
        for node in nodes(tree)
        if isinstance(node, dict)
        and any(isinstance(value, Call) and is_tensor(value) for value in node.values())
    ]


def _metadata(node: dict[Any, Any]) -> dict[Any, Any] | None:
    """Return the versions of modules, by the module's path: keys without the last dot."""
    state = node.state if isinstance(node, OrderedDictNode) else None
    found = state.get("_metadata") if isinstance(state, dict) else None
    return found if isinstance(found, dict) else None


def _new_names(contents: Contents, keys: list[str], prefix: str | None) -> dict[str, str]:
    stripped = _stripper(keys, prefix)
    names = {key: stripped(key) for key in keys}
    owners: dict[str, str] = {}
    for key, name in names.items():
        if owners.setdefault(name, key) != key:
            raise MismatchedCheckpointError(
                f"{contents.path}: two keys would get one name without the prefix: "
                f"{owners[name]} and {key}. Nothing written."
            )
    return names


def _stripper(keys: Iterable[str], prefix: str | None) -> Callable[[str], str]:
    """Return the function that strips a key, given all keys of its state_dict."""
    if prefix is not None:
        return lambda key: key.removeprefix(prefix)
    beside: dict[str, set[str]] = {}  # the names that follow each beginning
    for key in keys:
        parts = key.split(".")
        for cut, part in enumerate(parts):
            beside.setdefault(".".join(parts[:cut]), set()).add(part)

    def is_kept(parts: list[str], cut: int) -> bool:
        if parts[cut] not in WRAPPERS or cut == len(parts) - 1:  # the last names the tensor
            return True
        return parts[cut] == COMMON and len(beside.get(".".join(parts[:cut]), "")) > 1

    def stripped(key: str) -> str:
        parts = key.split(".")
        return ".".join(part for cut, part in enumerate(parts) if is_kept(parts, cut))

    return stripped


def _module_names(metadata: dict[Any, Any], stripped: Callable[[str], str]) -> dict[str, str]:
    return {name: stripped(f"{name}.")[:-1] for name in metadata if isinstance(name, str)}


def _rename(node: dict[Any, Any], names: dict[str, str]) -> None:
    """Rename keys where they stand. Of two modules' versions that meet, the inner one's stay."""
    items = [(names.get(key, key), value) for key, value in node.items()]
    node.clear()
    node.update(items)


def _refuse_nothing(contents: Contents, renamed: dict[str, str], prefix: str | None) -> None:
    if not renamed:
        wanted = f"the prefix {prefix!r}" if prefix else "a prefix that a wrapper adds"
        raise MismatchedCheckpointError(
            f"{contents.path}: no key has {wanted}, so there is nothing to strip; nothing written."
        )


def _mismatch(source: Contents, written: Contents, prefix: str | None) -> str | None:
    """Compare what was written with its source: all but the keys."""
    expected: dict[int, dict[Any, Any]] = {}  # by the id of the versions of modules
    names: set[tuple[str, str]] = set()
    for node in _state_dicts(source.tree):
        keys = [key for key in node if isinstance(key, str)]
        stripped = _stripper(keys, prefix)
        names |= {(key, stripped(key)) for key in keys}
        metadata = _metadata(node)
        if metadata is not None:
            expected[id(metadata)] = dict(metadata)
            _rename(expected[id(metadata)], _module_names(metadata, stripped))

    def same_versions(one: Any, two: Any) -> bool:
        return id(one) in expected and mismatch(expected[id(one)], dict(two)) is None

    for name, record in source.records.items():
        if name != PICKLE and not equal_bytes(
            pieces_of(source, record), pieces_of(written, written.records[name])
        ):
            return f"the bytes of {name}"
    return mismatch(
        source.tree,
        written.tree,
        same_key=lambda one, two: (one, two) in names,
        same_node=same_versions,
    )


def report(options: argparse.Namespace) -> Report:
    """Write a copy of ``options.file`` to ``options.out``, for the command line."""
    done = strip_prefix(options.file, options.out, options.prefix, overwrite=options.force)
    headline = f"written to {options.out}: {counted(len(done.renamed), 'key')} renamed"
    data = {"out": options.out, "renamed": done.renamed, "rest": done.rest}
    table = Table(done.renamed.items(), ["was", "is"])
    return Report(FINE, "written", headline, data, table, notes=not_taken(done.rest))

"""Describes a folder of files as the one checkpoint that it is.

Its files are joined end to end, and its tensors named as in a single file, so that every tool that
reads a file reads a folder. Names of files that an index gives count only if the folder has them.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from course_utils.errors import (
    AnotherFormatError,
    CheckpointError,
    DamagedCheckpointError,
    NotACheckpointError,
    UnsupportedCheckpointError,
)
from course_utils.formats.contents import Contents
from course_utils.formats.distributed import open_distributed
from course_utils.formats.folder_kinds import (
    COMMIT,
    DISTRIBUTED,
    PIECES,
    FolderKind,
    folder_kind,
    foreign_folder,
    is_deepspeed,
    surplus_shards,
)
from course_utils.formats.folder_parts import Parts
from course_utils.formats.folder_pieces import open_pieces
from course_utils.formats.garbage import collector_paused
from course_utils.formats.neighbours import Neighbour, another_format
from course_utils.formats.open import open_contents, require_tensors
from course_utils.formats.source import Source

LARGEST_JSON = 256 << 20  # bytes; the index of 100,000 tensors has 10 MB


class Folder(Protocol):
    """A folder whose files can be read.

    Attributes:
        path: its name, for messages.
        names: of its files; not of folders in it.
    """

    path: Path
    names: list[str]

    def open(self, name: str, /) -> Source:
        """Open one of its files.

        Raises:
            CheckpointError: the system does not let it be opened.
        """
        ...


def open_folder(folder: Folder, index: str | None = None) -> Contents:
    """Describe a folder that is one checkpoint; see `folder_kinds` for those that are.

    Weights in shards have the names they would have in one file; beside other states they stand
    under ``model``, and each other file under its own name without the suffix.

    Args:
        folder: its files.
        index: the file by which it was named, if it was.

    Raises:
        NotACheckpointError: it is no checkpoint of its own.
        DamagedCheckpointError: files or tensors are missing, stand twice, or contradict each other.
        UnsupportedCheckpointError: it, or a file of it, is laid out in an unknown way.
    """
    found = folder_kind(folder.names, index if index and index.endswith(".json") else None)
    if index == COMMIT and (found is None or found.kind != DISTRIBUTED):
        found = None
    if found is None and is_deepspeed(folder.names):
        raise NotACheckpointError(
            f"{folder.path} is a folder of DeepSpeed, whose pieces are not joined here. Join them "
            "with the zero_to_fp32.py that it writes beside them; without ZeRO-3 the weights are "
            "whole in mp_rank_00_model_states.pt, under 'module'."
        )
    if found is None and (foreign := foreign_folder(folder.names)):
        raise another_format(folder.path, Neighbour(*foreign))
    if found is None:
        raise NotACheckpointError(
            f"{folder.path} is a folder, and not one that is known to be one checkpoint; name a "
            "file in it."
        )
    with collector_paused():
        if found.kind == DISTRIBUTED:
            return open_distributed(folder)
        if found.kind == PIECES:
            return open_pieces(folder, found.weights)
        return _open(folder, found)


def _open(folder: Folder, found: FolderKind) -> Contents:
    parts = Parts(folder.path, found.kind)
    oddities: list[str] = []
    if found.listed_by:
        tree = _shards(folder, found.listed_by, parts, oddities)
    else:
        trees = {_part_of(name): _weights(folder, name, parts) for name in found.weights}
        if not found.states and len(trees) == 1:
            return parts.described(next(iter(trees.values())), oddities)
        return parts.described({**trees, **_states(folder, found, parts, oddities)}, oddities)
    if found.states:
        tree = {"model": tree, **_states(folder, found, parts, oddities)}
    return parts.described(tree, oddities)


def _whole(folder: Folder, name: str, parts: Parts) -> Any:
    path = folder.path / name
    return parts.add(require_tensors(open_contents(folder.open(name), path)))


def _weights(folder: Folder, name: str, parts: Parts) -> Any:
    """Return what a file has without which the folder is not whole."""
    try:
        return _whole(folder, name, parts)
    except AnotherFormatError as error:
        raise UnsupportedCheckpointError(f"{folder.path} is not whole: {error}") from None
    except NotACheckpointError as error:
        raise DamagedCheckpointError(f"{folder.path} is not whole: {error}") from None


def _part_of(name: str) -> str:
    """Return the key of a file of weights: ``model``, ``model_1``."""
    stem = name.partition(".")[0]
    number = stem.rpartition("_")[2]
    return f"model_{number}" if number.isdigit() else "model"


def _states(folder: Folder, found: FolderKind, parts: Parts, oddities: list[str]) -> dict[str, Any]:
    states: dict[str, Any] = {}
    for name in found.states:
        key = name.rpartition(".")[0]
        if name.endswith(".json"):
            states[key] = read_json(folder, name)
            continue
        try:
            states[key] = _whole(folder, name, parts)
        except (UnsupportedCheckpointError, NotACheckpointError) as error:
            oddities.append(f"not read: {error}")
    return states


def _shards(folder: Folder, index: str, parts: Parts, oddities: list[str]) -> dict[str, Any]:
    """Join the shards that an index lists.

    https://huggingface.co/docs/transformers/main/en/big_models#shard-metadata
    """
    owners = weight_map(folder, index)
    listed = sorted(set(owners.values()))
    missing = [name for name in listed if name not in folder.names]
    if missing:
        raise _damaged(folder, f"without {_some(missing)}, listed in {index}")
    tensors: dict[str, Any] = {}
    holders: dict[str, list[str]] = {}
    for shard in listed:
        tree = _weights(folder, shard, parts)
        if not isinstance(tree, dict):
            raise _damaged(folder, f"{shard} is no state_dict")
        for name in tree:
            holders.setdefault(str(name), []).append(shard)
        tensors.update(tree)
    doubled = [f"{name} ({' and '.join(where)})" for name, where in holders.items() if where[1:]]
    if doubled:
        raise _damaged(folder, f"in more than one shard: {_some(doubled)}")
    lost = [f"{name} ({shard})" for name, shard in owners.items() if holders.get(name) != [shard]]
    if lost:
        raise _damaged(folder, f"not where {index} says: {_some(lost)}")
    extra = [f"{name} ({where[0]})" for name, where in holders.items() if name not in owners]
    if extra:
        oddities.append(f"{index} does not list {_some(extra)}; readers that go by it miss them")
    surplus = surplus_shards(folder.names, listed)
    if surplus:
        oddities.append(
            f"{_some(surplus)}: not in {index}, so no part of the checkpoint; left over from "
            "another save?"
        )
    order = {name: place for place, name in enumerate(owners)}
    return dict(sorted(tensors.items(), key=lambda item: order.get(item[0], len(order))))


def weight_map(folder: Folder, index: str) -> dict[str, str]:
    """Return the shard of each tensor, as an index says.

    Raises:
        NotACheckpointError: it is an index of something else.
        DamagedCheckpointError: it is no JSON, has a key twice, or lists nothing.
    """
    content = read_json(folder, index)
    owners = content.get("weight_map") if isinstance(content, dict) else None
    if not isinstance(owners, dict) or not all(isinstance(x, str) for x in owners.values()):
        raise NotACheckpointError(f"{folder.path / index}: it has no 'weight_map' of shards.")
    if not owners:
        raise _damaged(folder, f"{index} lists no tensors")
    return owners


def read_json(folder: Folder, name: str) -> Any:
    """Return what a JSON file of the folder holds.

    Raises:
        DamagedCheckpointError: it is no JSON, or has a key twice.
    """
    source = folder.open(name)
    try:
        if source.size > LARGEST_JSON:
            raise ValueError(f"{source.size:,} bytes are too many")
        text = source.read_at(0, source.size).decode()
        return json.loads(text, object_pairs_hook=_without_twins)
    except (ValueError, RecursionError) as error:
        raise DamagedCheckpointError(
            f"{folder.path / name}: it is not the JSON that it should be: {error}. Use an earlier "
            "checkpoint."
        ) from None


def _without_twins(pairs: list[tuple[str, Any]]) -> Mapping[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"{next(n for n in names if names.count(n) > 1)!r} stands in it twice")
    return found


def _damaged(folder: Folder, problem: str) -> CheckpointError:
    return DamagedCheckpointError(f"{folder.path}: {problem}. Copy or save it again.")


def _some(names: list[str]) -> str:
    more = f" and {len(names) - 5:,} more" if len(names) > 5 else ""
    return f"{', '.join(names[:5])}{more}"

"""The files of a sharded checkpoint: PyTorch's reader and writer, with three gaps closed.

``torch.distributed.checkpoint`` (DCP) writes one ``.distcp`` file a rank and an index,
``.metadata``. Of itself it stores no checksum, takes a pickle for the index and runs it, and
unpickles what is not a tensor without limits. Here each file is checksummed and listed in a
commit record, the index is read without running it, and values are loaded weights-only.

The files stay DCP's own: its plain ``load`` reads them too.
"""

import dataclasses
import io
import pickle
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, cast

import torch
from torch.distributed.checkpoint import (
    DefaultLoadPlanner,
    DefaultSavePlanner,
    FileSystemReader,
    FileSystemWriter,
    Metadata,
    TensorStorageMetadata,
)
from torch.distributed.checkpoint.planner import ReadItem, SavePlan, SavePlanner, WriteItem
from torch.distributed.checkpoint.storage import WriteResult
from torch.futures import Future

from course_utils.checkpoint.torch_versions import (
    refuse_content_unless_plain,
    safe_loader_is_broken,
)
from course_utils.distributed.commit import Part, commit, measure
from course_utils.distributed.flat import Path as Keys
from course_utils.distributed.flat import flatten, unflatten
from course_utils.distributed.index import INDEX, read_index
from course_utils.errors import (
    DamagedCheckpointError,
    MismatchedCheckpointError,
    UnsafeCheckpointError,
)
from course_utils.partial.sources import EXTRA_STATE


class CommittingWriter(FileSystemWriter):
    """Writes a checkpoint and, last of all, its commit record.

    Every rank checksums the files it wrote; the notes travel to rank 0 with DCP's own.

    Args:
        checkpoint: the folder, new or empty.
    """

    def write_data(self, plan: SavePlan, planner: SavePlanner) -> Future[list[WriteResult]]:
        """Write this rank's files and measure them."""
        results = super().write_data(plan, planner).wait()
        names = {result.storage_data.relative_path for result in results}
        parts = {name: measure(Path(self.path) / name) for name in names}
        checked: Future[list[WriteResult]] = Future()
        checked.set_result([_Checked.note(result, parts) for result in results])
        return checked

    def finish(self, metadata: Metadata, results: list[list[WriteResult]]) -> None:
        """On rank 0, once all have written: write the index, then commit."""
        super().finish(metadata, results)
        checkpoint = Path(self.path)
        notes = [cast(_Checked, note) for notes_of_rank in results for note in notes_of_rank]
        parts = {note.storage_data.relative_path: note.part for note in notes}
        commit(checkpoint, parts | {INDEX: measure(checkpoint / INDEX)})


class CheckedReader(FileSystemReader):
    """Reads a committed checkpoint whose files have been verified, and nothing else.

    Args:
        checkpoint: the folder.
        parts: its files, from the commit record.
    """

    def __init__(self, checkpoint: Path, parts: dict[str, Part]) -> None:
        super().__init__(checkpoint)
        self._parts = parts

    def read_metadata(self, *args: Any, **kwargs: Any) -> Metadata:
        """Read the index without running code.

        Raises:
            UnsafeCheckpointError: it names a class or function that DCP does not write.
            DamagedCheckpointError: it cannot be read, or names a file that was not committed.
            UnsafeCheckpointError: under PyTorch before 2.10, a value is more than plain data.
        """
        path = Path(self.path) / INDEX
        metadata = read_index(path)
        files = {info.relative_path for info in metadata.storage_data.values()}
        if unknown := sorted(files - self._parts.keys()):
            raise DamagedCheckpointError(f"{path}: it names files not committed with it: {unknown}")
        if safe_loader_is_broken():
            self._audit(metadata)
        return metadata

    def _audit(self, metadata: Metadata) -> None:
        """Refuse values that are more than plain data: DCP unpickles them, tensors too."""
        for index, place in metadata.storage_data.items():
            with open(Path(self.path) / place.relative_path, "rb") as file:
                file.seek(place.offset)
                name = f"{file.name}: {index.fqn}"
                refuse_content_unless_plain(file.read(place.length), name)


class FlatSavePlanner(DefaultSavePlanner):
    """Saves what `flatten` returned, and notes in the index which keys each name was made of.

    Args:
        paths: each name's keys.
    """

    def __init__(self, paths: dict[str, Keys]) -> None:
        super().__init__(flatten_state_dict=False)
        self._paths = paths

    def create_local_plan(self) -> SavePlan:
        """Plan what this rank writes."""
        return dataclasses.replace(super().create_local_plan(), planner_data=self._paths)

    def create_global_plan(self, all_plans: list[SavePlan]) -> tuple[list[SavePlan], Metadata]:
        """On rank 0: who writes what, and the index."""
        paths = {name: keys for plan in all_plans for name, keys in plan.planner_data.items()}
        plans, metadata = super().create_global_plan(all_plans)
        return plans, dataclasses.replace(metadata, planner_data=paths)

    def transform_object(self, write_item: WriteItem, object: Any) -> Any:
        """Take the content of a file as it is."""
        return (
            object
            if isinstance(object, io.BytesIO)
            else super().transform_object(write_item, object)
        )


class PlainLoadPlanner(DefaultLoadPlanner):
    """Loads values that are not tensors weights-only: numbers, strings, lists, dicts."""

    def __init__(self) -> None:
        super().__init__(flatten_state_dict=False, flatten_sharded_tensors=False)

    def load_bytes(self, read_item: ReadItem, value: io.BytesIO) -> None:
        """Put one value into the state.

        Raises:
            UnsafeCheckpointError: it is not made of plain types.
        """
        name = read_item.dest_index.fqn
        try:
            self.state_dict[name] = torch.load(value, weights_only=True)
        except pickle.UnpicklingError as error:
            raise UnsafeCheckpointError(
                f"{name} holds more than numbers, strings, lists and dicts; it was not loaded"
            ) from error


def check_fits(checkpoint: Path, metadata: Metadata, here: dict[str, Any]) -> None:
    """Refuse another model's checkpoint; DCP itself ignores what it has no place for.

    Args:
        checkpoint: its folder, for the message.
        metadata: its index.
        here: modules' states by the names of their parts; they must be the same as in the
            checkpoint, name by name, shape by shape and dtype by dtype. What is in a module's
            extra state is its own: that must only be there.

    Raises:
        MismatchedCheckpointError: something is missing, left over, or of another shape or dtype.
    """
    prefixes = tuple(f"{part}." for part in here)
    values = metadata.state_dict_metadata, flatten(here)[0]
    saved, mine = (_kinds(side, prefixes) for side in values)
    wrong = [
        f"{name} is {_told(theirs, own)} in the file, {_told(own, theirs)} here"
        for name in sorted(saved.keys() | mine.keys())
        if (theirs := saved.get(name, MISSING)) != (own := mine.get(name, MISSING))
    ]
    if wrong:
        raise MismatchedCheckpointError(
            f"{checkpoint}: it is of another model: {'; '.join(wrong)}; "
            "build what it was saved from"
        )


def read_state(
    reader: CheckedReader, metadata: Metadata, room: Callable[[Keys, Any], Any], read: Any
) -> dict[str, Any]:
    """Read values of a checkpoint into a nested state.

    Args:
        reader: of the checkpoint.
        metadata: its index.
        room: from a value's keys and its entry in the index to a tensor to read it into, None for a
            value that is no tensor, or `SKIP`.
        read: DCP's ``load``, called with the names and the room for each.
    """
    infos = metadata.state_dict_metadata
    rooms = {name: room(tuple(metadata.planner_data[name]), info) for name, info in infos.items()}
    values = {name: place for name, place in rooms.items() if place is not SKIP}
    read(values, storage_reader=reader, planner=PlainLoadPlanner())
    return unflatten(values, metadata.planner_data)


def plain_room(keys: Keys, info: Any) -> torch.Tensor | None:
    """Return room for a value on the CPU."""
    if isinstance(info, TensorStorageMetadata):
        return torch.empty(info.size, dtype=info.properties.dtype)
    return None


SKIP = object()
Kind = tuple[str, str]
MISSING: Kind = "missing", ""


@dataclasses.dataclass(frozen=True)
class _Checked(WriteResult):
    """DCP's note about one written value, and the whole file it is in."""

    part: Part

    @classmethod
    def note(cls, result: WriteResult, parts: dict[str, Part]) -> "_Checked":
        return cls(**vars(result), part=parts[result.storage_data.relative_path])


def _kinds(values: Mapping[str, Any], prefixes: tuple[str, ...]) -> dict[str, Kind]:
    """Return what there is of modules, by name; an extra state may hold anything at any time."""
    kinds: dict[str, Kind] = {}
    for name in (name for name in values if name.startswith(prefixes)):
        keys = name.split(".")
        if EXTRA_STATE in keys:
            kinds[".".join(keys[: keys.index(EXTRA_STATE) + 1])] = "there", ""
        else:
            kinds[name] = _kind(values[name])
    return kinds


def _kind(value: object) -> Kind:
    """Return shape and dtype of a value in memory, spread over ranks or in an index."""
    if isinstance(value, torch.Tensor):
        return str(tuple(value.shape)), str(value.dtype)
    if isinstance(value, TensorStorageMetadata):
        return str(tuple(value.size)), str(value.properties.dtype)
    return "not a tensor", ""


def _told(kind: Kind, other: Kind) -> str:
    """The shape, or if that is no difference the dtype."""
    return kind[0] if kind[0] != other[0] else kind[1]

"""The files of a sharded checkpoint: PyTorch's reader and writer, with three gaps closed.

``torch.distributed.checkpoint`` (DCP) writes one ``.distcp`` file a rank and an index,
``.metadata``. Of itself it stores no checksum, takes a pickle for the index and runs it, and
unpickles what is not a tensor without limits. Here each file is checksummed and listed in a
commit record, the index may name only the classes DCP writes, and values are loaded weights-only.

The files stay DCP's own: its plain ``load`` reads them too.
"""

import dataclasses
import io
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import torch
from torch.distributed.checkpoint import (
    BytesStorageMetadata,
    DefaultLoadPlanner,
    FileSystemReader,
    FileSystemWriter,
    Metadata,
    TensorStorageMetadata,
)
from torch.distributed.checkpoint._nested_dict import flatten_state_dict, unflatten_state_dict
from torch.distributed.checkpoint._traverse import set_element
from torch.distributed.checkpoint.filesystem import _StorageInfo
from torch.distributed.checkpoint.metadata import (
    _MEM_FORMAT_ENCODING,
    ChunkStorageMetadata,
    MetadataIndex,
    StorageMeta,
    TensorProperties,
)
from torch.distributed.checkpoint.planner import ReadItem, SavePlan, SavePlanner
from torch.distributed.checkpoint.storage import WriteResult
from torch.futures import Future

from course_utils.distributed.commit import Part, commit, measure
from course_utils.errors import (
    DamagedCheckpointError,
    MismatchedCheckpointError,
    UnsafeCheckpointError,
)

INDEX = ".metadata"


class CommittingWriter(FileSystemWriter):
    """Writes a checkpoint and, last of all, its commit record.

    Every rank checksums the files it wrote; the notes travel to rank 0 with DCP's own.

    Args:
        checkpoint: the folder, new or empty.
    """

    def __init__(self, checkpoint: Path) -> None:
        super().__init__(checkpoint, overwrite=False)

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
        """
        path = Path(self.path) / INDEX
        metadata = read_index(path)
        files = {info.relative_path for info in metadata.storage_data.values()}
        if unknown := sorted(files - self._parts.keys()):
            raise DamagedCheckpointError(f"{path}: it names files not committed with it: {unknown}")
        return metadata


class PlainLoadPlanner(DefaultLoadPlanner):
    """Loads values that are not tensors weights-only: numbers, strings, lists, dicts."""

    def load_bytes(self, read_item: ReadItem, value: io.BytesIO) -> None:
        """Put one value into the state.

        Raises:
            UnsafeCheckpointError: it is not made of plain types.
        """
        name = read_item.dest_index.fqn
        try:
            loaded = torch.load(value, weights_only=True)
        except pickle.UnpicklingError as error:
            raise UnsafeCheckpointError(
                f"{name} holds more than numbers, strings, lists and dicts; it was not loaded"
            ) from error
        set_element(self.original_state_dict, self.mappings[name], loaded)


def check_fits(checkpoint: Path, metadata: Metadata, state: dict[str, Any]) -> None:
    """Refuse another model's checkpoint; DCP itself ignores what it has no place for.

    Args:
        checkpoint: its folder, for the message.
        metadata: its index.
        state: what will be read of it; the model, and the optimizer if it is in there, must be
            the same as in the checkpoint, name by name and shape by shape.

    Raises:
        MismatchedCheckpointError: something is missing, left over or of another shape.
    """
    parts = ("model.", "optimizer.state.") if "optimizer" in state else ("model.",)
    values = metadata.state_dict_metadata, flatten_state_dict(state)[0]
    saved, here = (
        {n: _shape(v) for n, v in side.items() if n.startswith(parts)} for side in values
    )
    wrong = [
        f"{name} is {saved.get(name, 'missing')} in the file, {here.get(name, 'missing')} here"
        for name in sorted(saved.keys() | here.keys())
        if saved.get(name) != here.get(name)
    ]
    if wrong:
        raise MismatchedCheckpointError(
            f"{checkpoint}: it is of another model or optimizer: {'; '.join(wrong)}; "
            "build what it was saved from"
        )


def empty_state(metadata: Metadata, keep: Callable[[str], bool]) -> dict[str, Any]:
    """Return the saved state's dicts and lists with room for its values.

    Args:
        metadata: the checkpoint's index.
        keep: whether to include a value, given its dotted name.

    Returns:
        Uninitialized tensors of the saved shapes and dtypes, ``None`` for other values.
    """
    values = {
        name: _room(info) for name, info in metadata.state_dict_metadata.items() if keep(name)
    }
    return unflatten_state_dict(values, metadata.planner_data)


def read_index(path: Path) -> Metadata:
    """Read ``.metadata``, a pickle, allowing only the classes that DCP writes."""
    try:
        with open(path, "rb") as file:
            metadata = _IndexUnpickler(file).load()
    except UnsafeCheckpointError as error:
        raise UnsafeCheckpointError(
            f"{path}: {error}; it was not written by DCP, do not load it"
        ) from None
    except Exception as error:  # a damaged pickle raises nearly anything
        raise DamagedCheckpointError(
            f"{path}: the index is damaged ({error}); use an older checkpoint"
        ) from error
    if not isinstance(metadata, Metadata):
        raise DamagedCheckpointError(f"{path}: it holds no index; use an older checkpoint")
    return metadata


@dataclasses.dataclass(frozen=True)
class _Checked(WriteResult):
    """DCP's note about one written value, and the whole file it is in."""

    part: Part

    @classmethod
    def note(cls, result: WriteResult, parts: dict[str, Part]) -> "_Checked":
        return cls(**vars(result), part=parts[result.storage_data.relative_path])


class _IndexUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        """Return a class the index may use."""
        found = _INDEX_CLASSES.get((module, name))
        dtype = getattr(torch, name, None) if module == "torch" and "." not in name else None
        if found is None and not isinstance(dtype, torch.dtype):
            raise UnsafeCheckpointError(f"the index would import {module}.{name}")
        return found or dtype


_INDEX_CLASSES: dict[tuple[str, str], Any] = {
    (thing.__module__, thing.__qualname__): thing
    for thing in (
        BytesStorageMetadata, ChunkStorageMetadata, Metadata, MetadataIndex, StorageMeta,
        TensorProperties, TensorStorageMetadata, _MEM_FORMAT_ENCODING, _StorageInfo,
        torch.Size, torch.serialization._get_layout,
    )
} | {("pathlib", kind): Path for kind in ("Path", "PosixPath", "WindowsPath")}  # fmt: skip


def _room(info: TensorStorageMetadata | BytesStorageMetadata) -> torch.Tensor | None:
    if isinstance(info, TensorStorageMetadata):
        return torch.empty(info.size, dtype=info.properties.dtype)
    return None


def _shape(value: object) -> tuple[int, ...] | str:
    """Return a tensor's shape, whether it is in memory, spread over ranks or in an index."""
    if isinstance(value, torch.Tensor):
        return tuple(value.shape)
    return tuple(value.size) if isinstance(value, TensorStorageMetadata) else "not a tensor"

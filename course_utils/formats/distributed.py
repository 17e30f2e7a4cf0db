"""Describes a distributed checkpoint: shards of many processes, assembled by their index.

Each value is a small checkpoint of its own in one of the ``.distcp`` files. A tensor that was cut
into blocks becomes one tensor again; nothing is copied for that before it is read.
"""

from typing import TYPE_CHECKING, Any

from course_utils.errors import (
    DamagedCheckpointError,
    NotACheckpointError,
    UnsafeCheckpointError,
    UnsupportedCheckpointError,
)
from course_utils.formats.contents import COMMIT_RECORD, Contents
from course_utils.formats.dcp_index import (
    Chunk,
    ForeignNamesError,
    Index,
    MalformedIndexError,
    Place,
    ShardedTensor,
    UnknownIndexError,
    read_index,
)
from course_utils.formats.dtypes import ITEMSIZE, PER_BYTE
from course_utils.formats.elements import blocks_of
from course_utils.formats.folder_kinds import COMMIT, DISTRIBUTED, INDEX
from course_utils.formats.folder_parts import Parts
from course_utils.formats.joined import Assembled, Piece
from course_utils.formats.open import dense, open_contents, require_tensors
from course_utils.formats.pickle_nodes import Call
from course_utils.formats.source import Memory, Source, Window
from course_utils.formats.tensors import TensorInfo, tensor_at
from course_utils.formats.zip import Record

if TYPE_CHECKING:
    from course_utils.formats.folders import Folder

REMEDY = "Use an earlier checkpoint."


def open_distributed(folder: "Folder") -> Contents:
    """Describe the folder that ``torch.distributed.checkpoint`` (DCP) wrote.

    Values stand where they stood in the state that was saved, if the index says where, else under
    their dotted names.

    Raises:
        DamagedCheckpointError: files are missing or too short, or the save did not end.
        UnsafeCheckpointError: its index names what DCP never writes.
        UnsupportedCheckpointError: it is stored in a way that is not known here.
    """
    index = open_index(folder)
    reader = _Reader(folder, index)
    tree = _Keys()
    for name in index.names:
        _put(tree, index.keys.get(name, (name,)), reader.node(name))
    parts = reader.parts
    committed = _committed(folder, reader)
    return parts.described(_lists(tree), (), [committed] if committed else None)


def open_index(folder: "Folder") -> Index:
    """Read the index of a folder.

    Raises:
        CheckpointError: as `open_distributed` does.
    """
    if INDEX not in folder.names:
        raise DamagedCheckpointError(
            f"{folder.path}: {INDEX} is missing, which is written last: the save did not end. "
            f"{REMEDY}"
        )
    source, path = folder.open(INDEX), folder.path / INDEX
    try:
        index = read_index(source.read_at(0, source.size))
    except ForeignNamesError as error:
        raise UnsafeCheckpointError(
            f"{path}: {error}; DCP did not write it, do not load it."
        ) from None
    except UnknownIndexError as error:
        raise UnsupportedCheckpointError(f"{path}: {error}.") from None
    except MalformedIndexError as error:
        raise DamagedCheckpointError(f"{path}: the index is damaged: {error}. {REMEDY}") from None
    missing = sorted({place.file for _, place in index.places()} - set(folder.names))
    if missing:
        shown = ", ".join(map(repr, missing[:5]))
        raise DamagedCheckpointError(
            f"{folder.path}: its index needs files that it does not have: {shown}. {REMEDY}"
        )
    return index


class _Reader:
    def __init__(self, folder: "Folder", index: Index) -> None:
        self._folder, self._index = folder, index
        self.parts = Parts(folder.path, DISTRIBUTED)
        self.parts.spent = index.length
        self.sources: dict[str, Source] = {}
        self.starts: dict[str, int] = {}

    def open(self, name: str) -> Source:
        """Open a file once, and append it to all others."""
        if name not in self.sources:
            self.sources[name] = self._folder.open(name)
            self.starts[name] = self.parts.source.add(self.sources[name])
        return self.sources[name]

    def node(self, name: str) -> Any:
        """Return the node of a value."""
        tensor = self._index.tensors.get(name)
        if tensor is None:
            place = self._index.objects[name]
            contents = self._contents(name, place)
            return self.parts.place(contents, self.starts[place.file] + place.start)
        chunks = [chunk for chunk in tensor.chunks if 0 not in chunk.shape] or tensor.chunks[:1]
        if len(chunks) == 1 and chunks[0].shape == tensor.shape:
            return self._whole(name, tensor, chunks[0])
        itemsize = ITEMSIZE[tensor.dtype]
        if tensor.dtype in PER_BYTE:
            raise UnsupportedCheckpointError(
                f"{self._folder.path}: {name} is cut into blocks of {tensor.dtype}, which is not "
                "known here."
            )
        blocks: list[tuple[Contents, Record]] = []
        pieces = [
            Piece(c.offsets, c.shape, self._elements(name, tensor, c, blocks)) for c in chunks
        ]
        try:
            source = Assembled(tensor.shape, itemsize, pieces)
        except ValueError as error:
            raise DamagedCheckpointError(
                f"{self._folder.path}: tensor {name}: {error}. {REMEDY}"
            ) from None
        return self.parts.tensor(tensor.dtype, tensor.shape, source, blocks)

    def _whole(self, name: str, tensor: ShardedTensor, chunk: Chunk) -> Any:
        """Return the node of a tensor that was not cut, as its file has it."""
        contents = self._contents(name, chunk.place)
        self._described(name, tensor, chunk, contents)
        return self.parts.place(contents, self.starts[chunk.place.file] + chunk.place.start)

    def _elements(
        self,
        name: str,
        tensor: ShardedTensor,
        chunk: Chunk,
        blocks: list[tuple[Contents, Record]],
    ) -> Source:
        """Return the elements of a block in order, little-endian; note where they lie."""
        contents = self._contents(name, chunk.place)
        info = self._described(name, tensor, chunk, contents)
        record = contents.records.get(info.record or "")
        if record is not None and contents.checksums:
            blocks.append((contents, record))
        plain = contents.byteorder == "little" and not (info.conj or info.neg)
        if (
            plain
            and record is not None
            and not record.compressed
            and info.stride == dense(info.shape)
        ):
            start = record.offset + info.storage_offset * info.itemsize
            return Window(contents.source, start, info.nbytes)
        return Memory(b"".join(blocks_of(contents, info)))

    def _described(
        self, name: str, tensor: ShardedTensor, chunk: Chunk, contents: Contents
    ) -> TensorInfo:
        root = contents.tree
        info = tensor_at(name, root) if isinstance(root, Call) else None
        if not isinstance(info, TensorInfo) or info.quantizer is not None:
            raise UnsupportedCheckpointError(
                f"{contents.path}: this block of {name} is no plain tensor."
            )
        if (info.dtype, info.shape) != (tensor.dtype, chunk.shape):
            raise DamagedCheckpointError(
                f"{contents.path}: a block of {name} is {info.dtype} {info.shape}, and the index "
                f"says {tensor.dtype} {chunk.shape}. {REMEDY}"
            )
        return info

    def _contents(self, name: str, place: Place) -> Contents:
        source = self.open(place.file)
        path = self._folder.path / f"{place.file} ({name.replace('/', '|')})"
        if place.start + place.length > source.size:
            raise DamagedCheckpointError(
                f"{path}: bytes {place.start:,} to {place.start + place.length:,} are beyond the "
                f"file's end. {REMEDY}"
            )
        try:
            contents = require_tensors(
                open_contents(Window(source, place.start, place.length), path)
            )
        except NotACheckpointError as error:  # DCP writes nothing else
            raise DamagedCheckpointError(f"{error} {REMEDY}") from None
        self.parts.files.append(contents)
        return contents


def _committed(folder: "Folder", reader: _Reader) -> Contents | None:
    """Return the files that a commit record lists, with their checksums; None without one."""
    if COMMIT not in folder.names:
        return None
    from course_utils.formats.folders import read_json

    try:
        listed = {
            str(name): (int(part["bytes"]), int(part["crc32"]))
            for name, part in read_json(folder, COMMIT)["files"].items()
        }
    except (TypeError, KeyError, AttributeError, ValueError) as error:
        raise DamagedCheckpointError(
            f"{folder.path / COMMIT}: the commit record is damaged ({error!r}). {REMEDY}"
        ) from None
    missing = sorted(set(listed) - set(folder.names))
    if missing:
        raise DamagedCheckpointError(
            f"{folder.path}: without {', '.join(map(repr, missing[:5]))}, which {COMMIT} lists. "
            f"{REMEDY}"
        )
    unlisted = sorted(set(reader.sources) - set(listed))
    if unlisted:
        raise DamagedCheckpointError(
            f"{folder.path}: its index names {unlisted[0]}, which {COMMIT} does not list. {REMEDY}"
        )
    records = {}
    for name, (size, crc32) in listed.items():
        source = reader.open(name)
        if source.size != size:
            raise DamagedCheckpointError(
                f"{folder.path / name} has {source.size:,} bytes, and {COMMIT} says {size:,}. "
                f"{REMEDY}"
            )
        start = reader.starts[name]
        records[name] = Record(name, start, start, start, size, size, crc32, False)
    return Contents(folder.path / COMMIT, reader.parts.source, COMMIT_RECORD, records)


class _Keys(dict[Any, Any]):
    """A container whose values were saved one by one."""


def _put(tree: _Keys, keys: tuple[Any, ...], node: Any) -> None:
    for key in keys[:-1]:
        inner = tree.get(key)
        if not isinstance(inner, _Keys):
            inner = tree[key] = _Keys()
        tree = inner
    tree[keys[-1]] = node


def _lists(node: Any) -> Any:
    """Turn containers from 0, 1, 2, … into the lists that they were."""
    if not isinstance(node, _Keys):
        return node
    inner = {key: _lists(value) for key, value in node.items()}
    if inner and all(type(key) is int for key in inner) and sorted(inner) == [*range(len(inner))]:
        return [inner[key] for key in range(len(inner))]
    return inner

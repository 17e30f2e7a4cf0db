"""What a file is and holds: the one description on which every tool stands."""

import zlib
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

from course_utils.errors import DamagedCheckpointError
from course_utils.formats.source import Memory, Source, Window
from course_utils.formats.tensors import OtherTensor, TensorInfo
from course_utils.formats.zip import Record

# What a file can be.
CHECKPOINT, LEGACY, TAR = "checkpoint", "checkpoint of PyTorch before 1.6", "tar checkpoint"
PROGRAM, SCRIPT, PICKLE = "exported program", "TorchScript program", "pickle"
COMPILED = "compiled program"  # of AOTInductor, in the same container as an exported one
SAFETENSORS, OTHER_ZIP = "safetensors file", "zip file"
CHECKPOINTS = (CHECKPOINT, LEGACY, TAR)  # what torch.save has written, in the order of their age
COMMIT_RECORD = "commit record"  # the list of a folder's files, each of them a record

NOTHING: Mapping[str, Any] = MappingProxyType({})
EXPANSION = 1100  # times its stored size that a record can unpack to: deflate's own limit is 1,032


class Contents(NamedTuple):
    """A file, described without running anything of it.

    Attributes:
        path: its name, for messages.
        source: its bytes. All that is read later comes from here, even if another file has
            taken the name meanwhile.
        kind: what it is, one of the names above.
        records: its parts by name; in a zip archive without the common prefix.
        tensors: those that can be read, by dotted path, for example ``model.0.weight``.
        others: tensors that cannot be read, with the reason.
        collided: dotted paths that more than one tensor has.
        globals: everything that loading would import, as ``module.name``.
        tree: the object the pickle would build, from plain containers and inert nodes; of a
            safetensors file, its metadata.
        pickle: the bytes of the pickle.
        byteorder: of the elements, ``"little"`` or ``"big"``.
        checksums: whether its records have any.
        files: the files, or parts of files, of a folder; empty for a single file.
        oddities: what does not fit in a folder, and yet does not keep it from being read.
        blocks: of a record that is put together from several, these, and what they lie in.
    """

    path: Path
    source: Source
    kind: str
    records: Mapping[str, Record] = NOTHING
    tensors: Mapping[str, TensorInfo] = NOTHING
    others: Mapping[str, OtherTensor] = NOTHING
    collided: frozenset[str] = frozenset()
    globals: frozenset[str] = frozenset()
    tree: Any = None
    pickle: bytes = b""
    byteorder: str = "little"
    checksums: bool = True
    files: tuple["Contents", ...] = ()
    oddities: tuple[str, ...] = ()
    blocks: Mapping[str, "tuple[tuple[Contents, Record], ...]"] = NOTHING

    def __repr__(self) -> str:
        return f"<contents of {self.path}>"  # all of it would fill the screen

    @property
    def is_described(self) -> bool:
        """Whether its tensors are: of a checkpoint, a safetensors file, a folder of either."""
        return self.kind in (*CHECKPOINTS, SAFETENSORS) or bool(self.files)

    def content(self, record: Record) -> Source:
        """Return the bytes of a record, unpacked if it is compressed.

        Raises:
            DamagedCheckpointError: it does not unpack to what the directory says.
        """
        if not record.compressed:
            return Window(self.source, record.offset, record.size)
        try:
            return Memory(unpack(self.source, record))
        except ValueError as error:
            raise DamagedCheckpointError(
                f"{self.path}: record {record.name} {error}. Use an earlier checkpoint."
            ) from None


def unpack(source: Source, record: Record) -> bytes:
    """Return the bytes of a compressed record.

    Raises:
        ValueError: they do not unpack to the size that the directory says; says what is wrong.
    """
    if record.size > EXPANSION * record.stored + 100:
        raise ValueError("says that it unpacks to more than it can")
    unpacker = zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        data = unpacker.decompress(source.read_at(record.offset, record.stored), record.size + 1)
    except zlib.error as error:
        raise ValueError(f"cannot be unpacked ({error})") from None
    if len(data) != record.size or not unpacker.eof:
        raise ValueError("does not unpack to the size that the directory says")
    return data

"""Write the archive of a checkpoint in one pass over the tensors' memory."""

import ctypes
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Union

from course_utils.files.direct_io import BLOCK, STEP, BlockWriter
from course_utils.formats.checksum import crc32
from course_utils.formats.zip_layout import CRC_POSITION, Entry, descriptor, directory, local_header

if TYPE_CHECKING:  # bytes are written without torch; a storage brings it along
    from torch import UntypedStorage

PREFIX = "archive/"  # what torch writes when it is given a file and not a name


class Stream:
    """The bytes of a record, given piece by piece when they are written.

    Args:
        size: of all pieces together, in bytes.
        pieces: are read once.
    """

    def __init__(self, size: int, pieces: Iterable[bytes]) -> None:
        self._size, self.pieces = size, pieces

    def __len__(self) -> int:
        return self._size


Content = Union[bytes, Stream, "UntypedStorage"]


class ArchiveWriter:
    """Append records to an archive; leaving the ``with`` body writes its directory.

    Args:
        file: descriptor of an empty file, open for writing.
        alignment: what the position of each record's data is a multiple of, in bytes.

    Raises:
        OSError: a write failed.
    """

    def __init__(self, file: int, alignment: int = 64) -> None:
        self._out = BlockWriter(file)
        self._alignment = alignment
        self.entries: list[Entry] = []

    def add(self, name: str, content: Content) -> None:
        """Append a record.

        Args:
            name: without the archive's prefix.
            content: bytes, a stream of them, or a storage on any device.
        """
        size = len(content)
        entry = Entry((PREFIX + name).encode(), self._out.position, size)
        self.entries.append(entry)
        if size <= STEP:
            self._add_small(entry, _bytes(content))
        else:
            self._add_large(entry, _pieces(content))

    def _add_small(self, entry: Entry, data: bytes) -> None:
        entry.crc32 = crc32(data)
        self._out.append(local_header(entry, self._alignment) + data + descriptor(entry))

    def _add_large(self, entry: Entry, pieces: Iterator[memoryview]) -> None:
        """Append data that is hashed while it is copied: the header's CRC-32 comes later."""
        header = local_header(entry, self._alignment)
        self._out.hold(len(header))
        self._out.append(header)
        for piece in pieces:
            entry.crc32 = self._out.append_hashed(piece, entry.crc32)
        self._out.patch(entry.header + CRC_POSITION, entry.crc32.to_bytes(4, "little"))
        self._out.append(descriptor(entry))

    def __enter__(self) -> "ArchiveWriter":
        self._out.__enter__()
        return self

    def __exit__(self, kind: type[BaseException] | None, *rest: object) -> None:
        try:
            if kind is None:
                self._out.append(directory(self.entries, self._out.position))
        finally:
            self._out.__exit__(kind, *rest)


def _bytes(content: Content) -> bytes:
    if isinstance(content, bytes):
        return content
    if not isinstance(content, Stream) and _is_on_cpu(content):
        return ctypes.string_at(content.data_ptr(), len(content))
    return b"".join(_pieces(content))


def _pieces(content: Content) -> Iterator[memoryview]:
    """Give a record's bytes: memory as it is, a device's through one pinned buffer."""
    if isinstance(content, bytes):
        yield memoryview(content)
        return
    if isinstance(content, Stream):
        yield from (memoryview(piece) for piece in content.pieces)
        return
    import torch

    data = torch.empty(0, dtype=torch.uint8, device=content.device).set_(content)
    if _is_on_cpu(content):
        yield data.numpy().data
        return
    size = min(BLOCK, len(data))
    buffer = torch.empty(size, dtype=torch.uint8, device="cpu", pin_memory=True)
    for part in data.split(BLOCK):
        yield buffer[: len(part)].copy_(part).numpy().data


def _is_on_cpu(storage: "UntypedStorage") -> bool:
    return storage.device.type == "cpu"

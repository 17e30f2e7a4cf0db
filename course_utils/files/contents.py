"""Open a file by its name: describe it, verify it."""

import os
import sys
import threading
from collections.abc import Callable, Iterable, Iterator

from course_utils.files.folder import open_folder, stands_for_folder
from course_utils.files.folder_file import FolderFile
from course_utils.files.open_file import OpenFile
from course_utils.formats import open as formats_open
from course_utils.formats import verify as formats_verify
from course_utils.formats.checksum import crc32
from course_utils.formats.contents import Contents
from course_utils.formats.verify import Checksum, Verification
from course_utils.formats.zip import Record

SMALLEST, LARGEST = 4 << 20, 64 << 20  # bytes of one task of a thread
STEP = 512 << 10  # bytes read, then hashed, while they are in the processor's nearest cache
SMALL = 256 << 10  # up to so many bytes are not worth another thread
THREADS = os.cpu_count() or 1
ALONE = sys.platform == "emscripten"  # in a browser there is one thread, and no zlib-ng

Progress = Callable[[int], None]
Piece = tuple[int, int]  # of a record, hashed by one thread: its byte position and length


def open_contents(path: str | os.PathLike[str]) -> Contents:
    """Describe a file by its content, whatever its name; only its directory is read.

    A folder that is one checkpoint, or the index in it, is described as one file.

    Raises:
        CheckpointError: it cannot be opened, or it is no checkpoint; see `formats.open`.
    """
    if stands_for_folder(path):
        return open_folder(path)
    return formats_open.open_contents(OpenFile(path), path)


def verify(path: str | os.PathLike[str], progress: Progress | None = None) -> Verification:
    """Verify a file; see `formats.verify.verify`.

    Args:
        path: the file.
        progress: is told the bytes that were read since it was last called.

    Raises:
        CheckpointError: it cannot be opened, or it is no checkpoint.
    """
    return verify_contents(open_contents(path), progress)


def verify_contents(contents: Contents, progress: Progress | None = None) -> Verification:
    """Verify an open file, its bytes read by several threads."""
    if contents.files:
        results = (verify_contents(file, progress) for file in contents.files)
        return formats_verify.together(contents, results)
    return formats_verify.verify(contents, _Checksums(contents, progress or (lambda _: None)))


def damaged_records(path: str | os.PathLike[str]) -> dict[str, str]:
    """Return what is wrong with a checkpoint's records, by record name; empty if all is well.

    Raises:
        CheckpointError: the directory itself cannot be read.
    """
    return {f.record or "directory": f.problem for f in verify(path).damage}


class _Checksums:
    """Yields the CRC-32 of records. Memory does not grow with the file: a buffer a thread.

    Its threads are plain ones: the pool of ``concurrent.futures`` takes 5 ms to import.
    """

    def __init__(self, contents: Contents, progress: Progress) -> None:
        self._source, self._progress = contents.source, progress
        self._local = threading.local()
        self._sums: dict[Piece, int | Exception] = {}

    def __call__(self, records: Iterable[Record]) -> Iterator[Checksum]:
        records = list(records)
        self._hash_in_threads([piece for record in records for piece in _pieces(record)])
        for record in records:
            try:
                yield self._joined(record)
            except OSError as error:
                yield error

    def _hash_in_threads(self, pieces: list[Piece]) -> None:
        waiting = iter(pieces)
        helpers = [
            threading.Thread(target=self._hash_each, args=(waiting,), name="verify")
            for _ in range(min(THREADS, len(pieces)) - 1)
        ]
        try:
            for helper in helpers:
                helper.start()
            self._hash_each(waiting)
        finally:
            list(waiting)  # interrupted: nothing is left for the others
            for helper in helpers:
                if helper.ident is not None:
                    helper.join()

    def _hash_each(self, waiting: Iterator[Piece]) -> None:
        for piece in waiting:
            try:
                self._sums[piece] = self._hash(*piece)
            except Exception as error:  # is raised where the record's turn comes
                self._sums[piece] = error

    def _joined(self, record: Record) -> int:
        pieces, total = _pieces(record), 0
        if not pieces:
            for start, count in _cut(record, SMALLEST):
                total = self._hash(start, count, total)
            return total
        from zlib_ng.zlib_ng import crc32_combine  # a browser has none

        for piece in pieces:
            part = self._sums[piece]
            if isinstance(part, Exception):
                raise part
            total = crc32_combine(total, part, piece[1])
        return total

    def _hash(self, position: int, count: int, total: int = 0) -> int:
        for start in range(position, position + count, STEP):
            part = self._read(start, min(STEP, position + count - start))
            total = crc32(part, total)
        self._progress(count)
        return total

    def _read(self, position: int, count: int) -> memoryview:
        if not hasattr(self._local, "buffer"):
            self._local.buffer = memoryview(bytearray(STEP))
        part: memoryview = self._local.buffer[:count]
        if isinstance(self._source, OpenFile | FolderFile) and not ALONE:
            came = self._source.read_into(part, position)
        else:
            data = self._source.read_at(position, count)
            came = len(data)
            part[:came] = data
        return part[:came]


def _pieces(record: Record) -> list[Piece]:
    """Cut a record into what is worth a thread each; a small one into none."""
    if ALONE or record.size <= SMALL:
        return []
    return _cut(record, min(max(SMALLEST, record.size // (4 * THREADS)), LARGEST))


def _cut(record: Record, length: int) -> list[Piece]:
    stop = record.offset + record.size
    return [(at, min(length, stop - at)) for at in range(record.offset, stop, length)]

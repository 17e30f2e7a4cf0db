"""Open a file by its name: describe it, verify it."""

import os
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING

from course_utils.files.folder import open_folder, stands_for_folder
from course_utils.files.folder_file import FolderFile
from course_utils.files.open_file import OpenFile
from course_utils.formats import open as formats_open
from course_utils.formats import verify as formats_verify
from course_utils.formats.checksum import crc32
from course_utils.formats.contents import Contents
from course_utils.formats.verify import Checksum, Verification
from course_utils.formats.zip import Record

if TYPE_CHECKING:
    from concurrent.futures import Future, ThreadPoolExecutor

SMALLEST, LARGEST = 4 << 20, 64 << 20  # bytes of one task of a thread
STEP = 512 << 10  # bytes read, then hashed, while they are in the processor's nearest cache
SMALL = 256 << 10  # up to so many bytes are not worth another thread
THREADS = os.cpu_count() or 1
ALONE = sys.platform == "emscripten"  # in a browser there is one thread, and no zlib-ng

Progress = Callable[[int], None]


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
    """Yields the CRC-32 of records. Memory does not grow with the file: a buffer a thread."""

    def __init__(self, contents: Contents, progress: Progress) -> None:
        self._source, self._progress = contents.source, progress
        self._local = threading.local()

    def __call__(self, records: Iterable[Record]) -> Iterator[Checksum]:
        records = list(records)
        if ALONE or all(record.size <= SMALL for record in records):
            yield from (self._finish(record, []) for record in records)
            return
        from concurrent.futures import ThreadPoolExecutor  # takes as long as reading a small file

        with ThreadPoolExecutor(THREADS, "verify") as pool:
            try:
                for record, parts in [(r, self._begin(r, pool)) for r in records]:
                    yield self._finish(record, parts)
            finally:
                pool.shutdown(cancel_futures=True)

    def _begin(self, record: Record, pool: "ThreadPoolExecutor") -> list[tuple[int, "Future[int]"]]:
        if record.size <= SMALL:
            return []
        stop = record.offset + record.size
        chunk = min(max(SMALLEST, record.size // (4 * THREADS)), LARGEST)
        starts = range(record.offset, stop, chunk)
        lengths = [min(chunk, stop - start) for start in starts]
        return [(n, pool.submit(self._hash, at, n)) for at, n in zip(starts, lengths, strict=True)]

    def _finish(self, record: Record, parts: list[tuple[int, "Future[int]"]]) -> Checksum:
        try:
            total = 0
            if not parts:
                stop = record.offset + record.size
                for start in range(record.offset, stop, SMALLEST):
                    total = self._hash(start, min(SMALLEST, stop - start), total)
                return total
            from zlib_ng.zlib_ng import crc32_combine

            for length, part in parts:
                total = crc32_combine(total, part.result(), length)
        except OSError as error:
            return error
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

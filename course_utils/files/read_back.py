"""Open a file whose bytes must be right; read one back before it takes its name."""

import os
from collections.abc import Iterator
from typing import BinaryIO

from course_utils.errors import DamagedCheckpointError, UnsupportedCheckpointError
from course_utils.files.contents import open_contents, verify_contents
from course_utils.files.open_file import OpenFile
from course_utils.formats import open as formats_open
from course_utils.formats.checksum import crc32
from course_utils.formats.contents import Contents
from course_utils.formats.open import require_tensors
from course_utils.formats.verify import UNWRITTEN, Severity
from course_utils.formats.zip import Record

BLOCK = 4 << 20  # bytes of a record in memory at a time


def open_sound(path: str | os.PathLike[str], *, single: bool = False) -> Contents:
    """Open a checkpoint or safetensors file, and verify all its checksums.

    Args:
        path: a file, or a folder that is one checkpoint.
        single: refuse a folder.

    Raises:
        CheckpointError: it cannot be read, is damaged, or was never filled.
    """
    contents = require_tensors(open_contents(path))
    if single and contents.files:
        raise UnsupportedCheckpointError(
            f"{path} is a folder of files ({contents.kind}). Make one file of it with "
            "`ckpt convert`, and take that."
        )
    for finding in verify_contents(contents).findings:
        if finding.severity is Severity.ERROR:
            raise DamagedCheckpointError(
                f"{path}: record {finding.record}: {finding.problem}. Use an earlier checkpoint, "
                "or save what is whole with `ckpt rescue`."
            )
        if finding.problem == UNWRITTEN:
            raise UnsupportedCheckpointError(f"{path}: record {finding.record}: {UNWRITTEN}.")
    return contents


def read_back(file: BinaryIO, out: str | os.PathLike[str]) -> Contents:
    """Open and verify what was just written, under the name it will have.

    Raises:
        CheckpointError: it cannot be read.
    """
    file.flush()
    written = formats_open.open_contents(OpenFile(file.name), out)
    for finding in verify_contents(written).damage:
        raise misread(out, f"record {finding.record}: {finding.problem}")
    return written


def misread(out: str | os.PathLike[str], problem: str) -> DamagedCheckpointError:
    """Return the error for a written file that does not read as it must."""
    return DamagedCheckpointError(
        f"{out}: not written. Read back, it is not what it was made from: {problem}."
    )


def crc32_of(contents: Contents, record: Record) -> int:
    """Return the CRC-32 of a record's bytes.

    Raises:
        DamagedCheckpointError: bytes are missing.
    """
    total = 0
    for piece in pieces_of(contents, record):
        total = crc32(piece, total)
    return total


def pieces_of(contents: Contents, record: Record) -> Iterator[bytes]:
    """Yield a record's bytes, a block at a time.

    Raises:
        DamagedCheckpointError: bytes are missing.
    """
    content = contents.content(record)
    for start in range(0, record.size, BLOCK):
        count = min(BLOCK, record.size - start)
        data = content.read_at(start, count)
        if len(data) < count:
            raise DamagedCheckpointError(f"{contents.path}: record {record.name} ends too early.")
        yield data


def equal_bytes(one: Iterator[bytes], two: Iterator[bytes]) -> bool:
    """Whether two sequences of blocks hold the same bytes, wherever they are cut."""
    a = b = memoryview(b"")
    while True:
        a = a or memoryview(next(one, b""))
        b = b or memoryview(next(two, b""))
        length = min(len(a), len(b))
        if not length:
            return not (a or b)
        if a[:length] != b[:length]:
            return False
        a, b = a[length:], b[length:]

"""Write a checkpoint from a tree of inert nodes and from data of other files, without torch."""

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, BinaryIO

from course_utils.errors import UnsupportedCheckpointError
from course_utils.files.read_back import misread, pieces_of, read_back
from course_utils.files.write_new import write_new
from course_utils.files.zip_writer import ArchiveWriter, Content, Stream
from course_utils.formats.contents import CHECKPOINT, Contents
from course_utils.formats.open import open_contents
from course_utils.formats.pickle import read_pickle
from course_utils.formats.pickle_writer import UnwritableError, write_pickle
from course_utils.formats.torch_layout import ALIGNMENT, LARGEST_ALIGNMENT
from course_utils.formats.trees import mismatch
from course_utils.formats.zip import Record

PICKLE = "data.pkl"
# What torch writes beside the pickle and the data.
SMALL_RECORDS: Mapping[str, bytes] = {
    ".format_version": b"1",
    ".storage_alignment": str(ALIGNMENT).encode(),
    "byteorder": b"little",
    "version": b"3\n",
}


def fresh_tree(contents: Contents) -> Any:
    """Return the tree of a checkpoint's pickle once more, to be changed."""
    if contents.kind == CHECKPOINT:
        return read_pickle(contents.pickle).root
    return open_contents(contents.source, contents.path).tree


def copied(contents: Contents, record: Record) -> Stream:
    """Return a record's bytes as they are, to be written elsewhere."""
    return Stream(record.size, pieces_of(contents, record))


def small_records(contents: Contents) -> dict[str, Content]:
    """Return all records of a checkpoint but the pickle and the data, to be written elsewhere.

    One from before PyTorch 1.6, or of a folder, has none, and gets those of today.
    """
    if contents.kind != CHECKPOINT:
        return {**SMALL_RECORDS, "byteorder": contents.byteorder.encode()}
    return {
        name: copied(contents, record)
        for name, record in contents.records.items()
        if name != PICKLE and not name.startswith("data/")
    }


def all_records(contents: Contents) -> dict[str, Content]:
    """Return all records of a checkpoint but the pickle, to be written elsewhere."""
    data = {n: copied(contents, r) for n, r in contents.records.items() if n.startswith("data/")}
    return {**small_records(contents), **data}


def write_checkpoint(
    out: str | os.PathLike[str],
    source: Contents,
    tree: Any,
    records: Mapping[str, Content],
    check: Callable[[Contents], str | None],
    *,
    overwrite: bool,
) -> Path:
    """Write a checkpoint and read it back before it takes its name.

    Args:
        out: the file to create.
        source: the file from which it is made.
        tree: what the new pickle says.
        records: all others of the new file, by name, in order.
        check: compares the written file with what it was made from, and says what is wrong.
        overwrite: replace what stands at ``out``.

    Raises:
        UnsupportedCheckpointError: the tree holds what ``torch.save`` never writes.
        DamagedCheckpointError: what was written reads differently.
        CheckpointWriteError: nothing was written.
    """
    pickle = _pickled(source, tree)
    alignment = _alignment_of(source)

    def write(file: BinaryIO) -> None:
        with ArchiveWriter(file.fileno(), alignment) as archive:
            archive.add(PICKLE, pickle)
            for name, content in records.items():
                archive.add(name, content)
        written = read_back(file, out)
        problem = mismatch(tree, written.tree) or check(written)
        if problem:
            raise misread(out, problem)

    size = len(pickle) + sum(map(len, records.values()))
    return write_new(out, write, sources=[source.path], overwrite=overwrite, size=size)


def _pickled(source: Contents, tree: Any) -> bytes:
    try:
        return write_pickle(tree)
    except UnwritableError as error:
        raise UnsupportedCheckpointError(
            f"{source.path}: its pickle holds {error}, as torch.save never writes it. "
            "Load it where it was made and save it again."
        ) from None


def _alignment_of(source: Contents) -> int:
    """Return the alignment of a checkpoint's data as its own record says; else torch's default."""
    record = source.records.get(".storage_alignment") if source.kind == CHECKPOINT else None
    text = source.content(record).read_at(0, 8) if record else b""
    return int(text) if text.isdigit() and 1 <= int(text) <= LARGEST_ALIGNMENT else ALIGNMENT

"""Writes a copy of a checkpoint without the bytes that no tensor shows."""

import argparse
import os
from collections.abc import Iterator
from dataclasses import dataclass
from math import lcm, prod
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from course_utils.ckpt.report import FINE, Report, not_taken
from course_utils.ckpt.views import View, views_in
from course_utils.errors import UnsupportedCheckpointError
from course_utils.files.checkpoint_writer import (
    copied,
    fresh_tree,
    small_records,
    write_checkpoint,
)
from course_utils.files.read_back import equal_bytes, open_sound, pieces_of
from course_utils.files.write_new import refuse_existing, write_new
from course_utils.files.zip_writer import Content, Stream
from course_utils.formats.contents import CHECKPOINTS, Contents
from course_utils.formats.dtypes import PER_BYTE
from course_utils.formats.elements import BLOCK, raw_blocks
from course_utils.formats.open import dense
from course_utils.formats.pickle_nodes import Call, PersistentId
from course_utils.formats.tensors import TensorInfo, storage_of, tensor_at
from course_utils.formats.trees import mismatch
from course_utils.formats.verify import rest_of

RECORD = 320  # bytes that one more record costs in the archive, at most: headers and padding


@dataclass(frozen=True)
class Slimmed:
    """What became of a file.

    Attributes:
        path: the new file.
        before: bytes of the old one.
        after: bytes of the new one: fewer, or as many where there was nothing to slim.
        rest: what followed the end of the old one, and is not in the new one; None for nothing.
    """

    path: Path
    before: int
    after: int
    rest: str | None = None


def slim(
    path: str | os.PathLike[str], out: str | os.PathLike[str], *, overwrite: bool = False
) -> Slimmed:
    """Write a checkpoint again with only the elements that its tensors show.

    Tensors whose elements overlap go on sharing memory; tensors of one storage that do not
    overlap get a storage each. Steps between elements change only where there were gaps. A file
    that would not get smaller is copied as it is. The written file is read back and compared
    with its source before it takes its name.

    Args:
        path: a checkpoint; every checksum is verified.
        out: the file to create.
        overwrite: replace what stands at ``out``; never the checkpoint itself.

    Raises:
        CheckpointError: the file cannot be read, or holds what is not understood.
        CheckpointWriteError: nothing was written.
    """
    contents = open_sound(path, single=True)
    if contents.kind not in CHECKPOINTS:
        raise UnsupportedCheckpointError(
            f"{path} is a {contents.kind}: there is nothing to slim, as it holds no more than its "
            "tensors show."
        )
    refuse_existing(out, [path], overwrite=overwrite)
    before = contents.source.size
    tree = fresh_tree(contents)
    records = _rewrite(contents, tree)

    def check(written: Contents) -> str | None:
        if written.source.size >= before:
            raise _NotSmallerError
        return _mismatch(contents, written)

    try:
        if sum(map(len, records.values())) >= _data_size(contents):
            raise _NotSmallerError
        records = small_records(contents) | records
        write_checkpoint(out, contents, tree, records, check, overwrite=overwrite)
    except _NotSmallerError:
        write_new(out, lambda file: _copy(contents, file), sources=[path], overwrite=overwrite)
        return Slimmed(Path(out), before, os.path.getsize(out))
    return Slimmed(Path(out), before, os.path.getsize(out), rest_of(contents))


class _NotSmallerError(Exception):
    """The new file would not be smaller than the old one."""


class _Piece(NamedTuple):
    """A stretch of a storage that becomes a storage of its own.

    Attributes:
        start, stop: its bytes in the old storage.
        views: the tensors in it.
        dense: whether its only tensor has gaps, which go.
    """

    start: int
    stop: int
    views: list[View]
    dense: bool = False

    @property
    def size(self) -> int:
        return self.views[0].info.nbytes if self.dense else self.stop - self.start


def _rewrite(contents: Contents, tree: Any) -> dict[str, Content]:
    """Let all tensors refer to new storages, and return their contents by record name."""
    views, bare = views_in(tree)
    whole = {storage_of(reference).key for reference in bare}  # not by tensors
    by_storage: dict[str, list[View]] = {}
    for view in views:
        by_storage.setdefault(view.info.storage or "", []).append(view)
    records: dict[str, Content] = {}
    for key, group in by_storage.items():
        if key in whole or any(view.info.dtype in PER_BYTE for view in group):
            bare += [view.reference for view in group]
            continue
        for piece in _pieces(group):
            number = str(len(records))
            records[f"data/{number}"] = _content(contents, piece)
            for view in piece.views:
                _move(view, piece, number)
    numbers: dict[str, str] = {}
    for reference in {id(reference): reference for reference in bare}.values():
        key = storage_of(reference).key
        if key not in numbers:
            numbers[key] = str(len(records))
            records[f"data/{numbers[key]}"] = copied(contents, contents.records[f"data/{key}"])
        reference.value = (*reference.value[:2], numbers[key], *reference.value[3:])
    return records


def _pieces(group: list[View]) -> list[_Piece]:
    """Cut a storage where that saves more than one more record costs."""
    whole = group[0].info.storage_nbytes
    step = lcm(*(view.info.itemsize for view in group), group[0].unit)
    pieces: list[_Piece] = []
    for view in sorted(group, key=lambda view: view.start):
        start = view.start // step * step
        stop = min(-(-view.stop // step) * step, whole)
        if pieces and start < pieces[-1].stop + RECORD:
            last = pieces.pop()
            pieces.append(_Piece(last.start, max(stop, last.stop), [*last.views, view]))
        else:
            pieces.append(_Piece(start, stop, [view]))
    return [piece._replace(dense=_has_gaps(piece)) for piece in pieces]


def _has_gaps(piece: _Piece) -> bool:
    info = piece.views[0].info
    places = {(v.info.storage_offset, v.info.shape, v.info.stride) for v in piece.views}
    dtypes = {v.info.dtype for v in piece.views}
    return len(places) == len(dtypes) == 1 and prod(info.shape) < info.span


def _content(contents: Contents, piece: _Piece) -> Content:
    info = piece.views[0].info
    if piece.dense:
        return Stream(piece.size, raw_blocks(contents, info))
    record = contents.records[f"data/{info.storage}"]
    content = contents.content(record)

    def read() -> Iterator[bytes]:
        for start in range(piece.start, piece.stop, BLOCK):
            yield content.read_at(start, min(BLOCK, piece.stop - start))

    return Stream(piece.size, read())


def _move(view: View, piece: _Piece, key: str) -> None:
    """Let a tensor refer to the storage that a piece becomes."""
    _, kind, _, device, _, *rest = view.reference.value
    size = piece.size // view.unit
    reference = PersistentId(("storage", kind, key, device, size, *rest))
    if piece.dense:
        view.set(reference, 0, dense(view.info.shape))
    else:
        view.set(reference, (view.start - piece.start) // view.info.itemsize, view.info.stride)


def _mismatch(source: Contents, written: Contents) -> str | None:
    """Compare what was written with its source: all but where the elements lie."""

    def same(one: Any, two: Any) -> bool:
        if isinstance(one, PersistentId):
            a, b = (storage_of(reference) for reference in (one, two))
            records = (source.records[f"data/{a.key}"], written.records[f"data/{b.key}"])
            pieces = (pieces_of(source, records[0]), pieces_of(written, records[1]))
            return a._replace(key="") == b._replace(key="") and equal_bytes(*pieces)
        if not isinstance(one, Call):
            return False
        old, new = tensor_at("", one), tensor_at("", two)
        if not (isinstance(old, TensorInfo) and isinstance(new, TensorInfo) and old.record):
            return False
        alike = mismatch(_without_place(old), _without_place(new)) is None
        return alike and equal_bytes(raw_blocks(source, old), raw_blocks(written, new))

    return mismatch(source.tree, written.tree, same_node=same)


def _without_place(info: TensorInfo) -> dict[str, Any]:
    place = ("stride", "storage", "storage_offset", "storage_nbytes", "record")
    return {name: value for name, value in info._asdict().items() if name not in place}


def _data_size(contents: Contents) -> int:
    return sum(r.size for name, r in contents.records.items() if name.startswith("data/"))


def _copy(contents: Contents, file: BinaryIO) -> None:
    source = contents.source
    for start in range(0, source.size, BLOCK):
        file.write(source.read_at(start, min(BLOCK, source.size - start)))


def report(options: argparse.Namespace) -> Report:
    """Write a slim copy of ``options.file`` to ``options.out``, for the command line."""
    done = slim(options.file, options.out, overwrite=options.force)
    headline = f"written to {options.out}: {done.after:,} bytes instead of {done.before:,}"
    data = {"out": options.out, "before": done.before, "after": done.after, "rest": done.rest}
    return Report(FINE, "written", headline, data, notes=not_taken(done.rest))

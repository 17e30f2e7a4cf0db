"""Saves from a damaged checkpoint what can be proved to be as it was written."""

import argparse
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from course_utils.ckpt.report import FINE, PROBLEM, Report
from course_utils.ckpt.views import views_in
from course_utils.errors import DamagedCheckpointError, UnsupportedCheckpointError
from course_utils.files.checkpoint_writer import (
    PICKLE,
    SMALL_RECORDS,
    copied,
    fresh_tree,
    write_checkpoint,
)
from course_utils.files.contents import open_contents, verify
from course_utils.files.open_file import OpenFile
from course_utils.files.read_back import crc32_of, equal_bytes, pieces_of
from course_utils.files.write_new import refuse_existing
from course_utils.files.zip_writer import Content
from course_utils.formats.contents import CHECKPOINT, Contents
from course_utils.formats.find_tensors import find_tensors
from course_utils.formats.open import require_tensors
from course_utils.formats.pickle import read_pickle
from course_utils.formats.pickle_nodes import (
    Call,
    Global,
    MalformedPickleError,
    PersistentId,
    describe,
)
from course_utils.formats.salvage import find_records
from course_utils.formats.tensors import TYPED, is_tensor, storage_of
from course_utils.formats.trees import nodes
from course_utils.formats.verify import Verdict, Verification
from course_utils.formats.zip import ZIP, Record

META = Global("torch._utils", "_rebuild_meta_tensor_no_storage")
BYTEORDER = "byteorder"


@dataclass(frozen=True)
class Rescued:
    """What could be saved. It is never the whole file, whatever its parts.

    Attributes:
        path: the new file.
        saved: names of tensors whose bytes were proved.
        lost: names of those whose bytes were not.
        notes: what else is not known.
    """

    path: Path
    saved: tuple[str, ...]
    lost: tuple[str, ...]
    notes: tuple[str, ...]

    def __str__(self) -> str:
        total = len(self.saved) + len(self.lost)
        lines = [f"{self.path.name}: {len(self.saved):,} of {total:,} tensors, each proved"]
        return "\n".join([*lines, *(f"lost: {name}" for name in self.lost), *self.notes])


def rescue(
    path: str | os.PathLike[str], out: str | os.PathLike[str], *, overwrite: bool = False
) -> Rescued:
    """Write every tensor of a damaged checkpoint whose bytes have their checksum, and all values.

    Works without the directory at the end, which a file that was cut off has lost. A lost tensor
    is taken out of its dict; where it stands in a list or tuple, or inside another object, a
    tensor on the meta device takes its place, which has no values. The written file is read back
    and compared before it takes its name.

    Args:
        path: a file by ``torch.save``, whose pickle must be proved: it holds names and shapes.
        out: the file to create.
        overwrite: replace what stands at ``out``; never the damaged file.

    Raises:
        DamagedCheckpointError: the pickle is lost, so nothing can be told.
        UnsupportedCheckpointError: the file has no checksums, so nothing can be proved.
        CheckpointWriteError: nothing was written.
    """
    refuse_existing(out, [path], overwrite=overwrite)
    contents = _proved(path)
    tree = fresh_tree(contents)
    lost_keys = _lost_storages(contents, tree)
    saved, lost = _names(contents, lost_keys)
    _take_out(tree, lost_keys)
    _write(contents, tree, lost_keys, out, overwrite)
    shown = {info.storage for info in contents.tensors.values()}
    notes = [f"lost: record data/{key}, which no tensor shows" for key in sorted(lost_keys - shown)]
    if BYTEORDER not in contents.records:
        notes.append("its byte order is not known; little-endian was assumed")
    return Rescued(Path(out), saved, lost, tuple(notes))


def _write(
    contents: Contents,
    tree: Any,
    lost_keys: set[str],
    out: str | os.PathLike[str],
    overwrite: bool,
) -> None:
    gone = {f"data/{key}": b"" for key in lost_keys}  # a storage may stand there on its own
    kept = {name: r for name, r in contents.records.items() if name != PICKLE and name not in gone}
    records: dict[str, Content] = {name: copied(contents, r) for name, r in kept.items()}

    def check(written: Contents) -> str | None:
        for name, record in kept.items():
            pair = [pieces_of(contents, record), pieces_of(written, written.records[name])]
            if not equal_bytes(*pair):
                return f"the bytes of {name}"
        return None

    records = {**SMALL_RECORDS, **records, **gone}
    write_checkpoint(out, contents, tree, records, check, overwrite=overwrite)


def _proved(path: str | os.PathLike[str]) -> Contents:
    """Open a checkpoint, with its directory or without, and keep only records that are proved."""
    try:
        contents = open_contents(path)
    except DamagedCheckpointError as error:
        return _without_directory(path, error)
    require_tensors(contents)
    if contents.kind != CHECKPOINT or not contents.checksums:
        what = "is a folder; name a file in it" if contents.files else "has no checksums"
        raise UnsupportedCheckpointError(
            f"{path}: nothing in it can be proved: a {contents.kind} {what}. What can be read, "
            "`ckpt convert` writes."
        )
    proved = {name: r for name, r in contents.records.items() if _is_proved(contents, r)}
    return contents._replace(records=proved)


def _is_proved(contents: Contents, record: Record) -> bool:
    try:
        return crc32_of(contents, record) == record.crc32
    except (DamagedCheckpointError, OSError):
        return False


def _without_directory(path: str | os.PathLike[str], error: Exception) -> Contents:
    source = OpenFile(path)
    if source.read_at(0, 4) != ZIP:
        raise error
    found = list(find_records(source))
    prefix = next((r.name.removesuffix(PICKLE) for r in found if r.name.endswith("/" + PICKLE)), "")
    records: dict[str, Record] = {}
    twice = set()  # which of the two is meant, nobody knows
    for record in found:
        if record.name.startswith(prefix):
            name = record.name.removeprefix(prefix)
            first = records.setdefault(name, record._replace(name=name))
            if (first.size, first.crc32) != (record.size, record.crc32):
                twice.add(name)
    for name in twice:
        del records[name]
    if PICKLE not in records:
        raise DamagedCheckpointError(
            f"{path}: nothing can be rescued, as its {PICKLE} is not whole: it holds the names and "
            f"shapes of all tensors. {error}"
        ) from None
    bare = Contents(Path(path), source, CHECKPOINT, records)
    pickle = b"".join(pieces_of(bare, records[PICKLE]))
    try:
        tree = read_pickle(pickle).root
        tensors = find_tensors(tree, limit=len(pickle))
    except MalformedPickleError as problem:
        raise UnsupportedCheckpointError(f"{path}: its {PICKLE} is not read: {problem}.") from None
    order = b"".join(pieces_of(bare, records[BYTEORDER])) if BYTEORDER in records else b"little"
    return bare._replace(
        tensors=tensors.tensors, others=tensors.others, collided=tensors.collided, tree=tree,
        pickle=pickle, byteorder=order.decode("ascii", "replace"),
    )  # fmt: skip


def _lost_storages(contents: Contents, tree: Any) -> set[str]:
    lost = set()
    for node in nodes(tree):
        if isinstance(node, PersistentId):
            storage = storage_of(node)
            record = contents.records.get(f"data/{storage.key}")
            if record is None or record.size != storage.nbytes:
                lost.add(storage.key)
    return lost


def _names(contents: Contents, lost_keys: set[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    saved, lost = list[str](), list[str]()
    for name, info in contents.tensors.items():
        if info.part_of is None:
            (lost if info.storage in lost_keys else saved).append(name)
    for name, other in contents.others.items():
        (lost if _is_lost(other.node, lost_keys) else saved).append(name)
    return tuple(saved), tuple(lost)


def _is_lost(node: Any, lost_keys: set[str]) -> bool:
    return any(
        isinstance(inner, PersistentId) and storage_of(inner).key in lost_keys
        for inner in nodes(node)
    )


def _take_out(tree: Any, lost_keys: set[str]) -> None:
    """Take lost tensors out of dicts, and let all others be on the meta device."""
    for node in nodes(tree):
        if isinstance(node, dict):
            for key, value in list(node.items()):
                if isinstance(value, Call) and is_tensor(value) and _is_lost(value, lost_keys):
                    del node[key]
    views, bare = views_in(tree)
    for view in views:
        info = view.info
        if info.storage in lost_keys:
            meta = (Global("torch", info.dtype), info.shape, info.stride, info.requires_grad)
            if describe(view.call.function) == TYPED:
                view.call.arguments = (META, view.call.arguments[1], meta, view.call.arguments[3])
            else:
                view.call.function, view.call.arguments = META, meta
    for reference in bare:
        if storage_of(reference).key in lost_keys:
            reference.value = (*reference.value[:4], 0)


def report(options: argparse.Namespace) -> Report:
    """Rescue ``options.file`` into ``options.out``, for the command line; never called whole."""
    done = rescue(options.file, options.out, overwrite=options.force)
    headline, *lines = str(done).splitlines()
    data = {**asdict(done), "path": str(done.path)}
    seen = _verified(options.file)
    if done.lost or seen is None or seen.damage:
        return Report(PROBLEM, "rescued in part", headline, data, notes=lines)
    lines += [finding.problem for finding in seen.findings]
    found = "is sound" if seen.verdict is Verdict.SOUND else "is not damaged, as far as can be told"
    lines.append(f"{options.file} {found}: it needed no rescue")
    return Report(FINE, "needed no rescue", headline, data, notes=lines)


def _verified(path: str) -> Verification | None:
    try:
        return verify(path)
    except DamagedCheckpointError:  # its directory is lost, and no more than that
        return None

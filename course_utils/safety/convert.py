"""From a checkpoint to a safetensors file, which can hold nothing but tensors and strings."""

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from course_utils.errors import DamagedCheckpointError, UnsupportedCheckpointError
from course_utils.files.contents import open_contents, verify_contents
from course_utils.files.durable import write_atomically
from course_utils.files.overwrite import require_free
from course_utils.formats.contents import Contents
from course_utils.formats.dtypes import SAFETENSORS
from course_utils.formats.elements import blocks
from course_utils.formats.open import require_tensors
from course_utils.formats.tensors import TensorInfo
from course_utils.formats.values import plain_values

NAMES = {dtype: name for name, dtype in SAFETENSORS.items()}
VALUES = "values"  # the metadata entry with all that is not a tensor, as JSON
GROWTH = 16  # times the checkpoint's size; beyond, expanded tensors are a bomb


def convert(
    path: str | os.PathLike[str], out: str | os.PathLike[str], *, overwrite: bool = False
) -> "Conversion":
    """Write a checkpoint's tensors to a safetensors file, without running the checkpoint.

    Names become dotted paths (``model.head.weight``). Of tensors that are one and the same the
    first is written, and the metadata say which name stands for which, as
    ``safetensors.torch.save_model`` does. Numbers, strings and lists of them go into the metadata
    entry ``values``, as JSON. One block of one tensor is in memory at a time.

    Args:
        path: a checkpoint as `anatomy.read_archive` reads it; every checksum is verified.
        out: the file to create, ``.safetensors``.
        overwrite: whether ``out`` may be replaced if it exists; ``path`` itself never is.

    Raises:
        CheckpointError: the checkpoint cannot be read, or safetensors has no such dtype.
        CheckpointWriteError: nothing was written.
    """
    require_free(out, path, overwrite)
    archive = require_tensors(open_contents(path))
    for finding in verify_contents(archive).damage:
        raise DamagedCheckpointError(f"{path}: record {finding.record}: {finding.problem}.")
    kept, shared = _without_twins(archive)
    _refuse_impossible(archive, kept)
    values, left_out = plain_values(archive)
    metadata = {"format": "pt", **shared}
    if values:
        metadata[VALUES] = json.dumps(values)
    # The format wants no gaps; largest elements first keeps all of them aligned.
    kept.sort(key=lambda info: -info.itemsize)
    header = _header(kept, metadata)

    def write(file: BinaryIO) -> None:
        file.write(header)
        for info in kept:
            for block in blocks(archive, info.name):
                file.write(block)

    write_atomically(out, write, size=len(header) + sum(info.nbytes for info in kept))
    return Conversion(Path(out), len(kept), shared, tuple(values), tuple(left_out))


@dataclass(frozen=True)
class Conversion:
    """What was written.

    Attributes:
        path: the new file.
        tensors: how many tensors are in it.
        shared: from each name that was not written to the name of the same tensor.
        values: paths of what went into the metadata.
        left_out: paths of what safetensors cannot hold.
    """

    path: Path
    tensors: int
    shared: dict[str, str]
    values: tuple[str, ...]
    left_out: tuple[str, ...]

    def __str__(self) -> str:
        lines = [f"{self.path.name}: {self.tensors} tensors, {len(self.values)} values as metadata"]
        lines += [f"{name} is {owner}" for name, owner in self.shared.items()]
        lines += [f"left out, as safetensors cannot hold it: {name}" for name in self.left_out]
        return "\n".join(lines)


def _without_twins(archive: Contents) -> tuple[list[TensorInfo], dict[str, str]]:
    """Split tensors into those to write and those that are another one under a second name."""
    first: dict[tuple[Any, ...], TensorInfo] = {}
    shared = {}
    for info in archive.tensors.values():
        place = (info.record, info.storage_offset, info.shape, info.stride, info.dtype)
        if info.record is not None and place in first:
            shared[info.name] = first[place].name
        else:
            first[place if info.record is not None else (info.name,)] = info
    return list(first.values()), shared


def _refuse_impossible(archive: Contents, tensors: list[TensorInfo]) -> None:
    for info in tensors:
        if info.record is None:
            raise UnsupportedCheckpointError(
                f"{archive.path}: tensor {info.name} is on the meta device: it has no values."
            )
        if info.dtype not in NAMES:
            raise UnsupportedCheckpointError(
                f"{archive.path}: tensor {info.name} is {info.dtype}, which safetensors does not "
                "have. Convert it to another dtype first."
            )
    total, size = sum(info.nbytes for info in tensors), archive.source.size
    if total > GROWTH * size:
        raise UnsupportedCheckpointError(
            f"{archive.path}: its tensors repeat elements; written out they would take {total:,} "
            f"bytes instead of {size:,}."
        )


def _header(tensors: list[TensorInfo], metadata: dict[str, str]) -> bytes:
    entries: dict[str, Any] = {"__metadata__": metadata}
    position = 0
    for info in tensors:
        stop = position + info.nbytes
        entries[info.name] = {
            "dtype": NAMES[info.dtype], "shape": _shape(info), "data_offsets": [position, stop]
        }  # fmt: skip
        position = stop
    text = json.dumps(entries, separators=(",", ":")).encode()
    text = text.ljust((len(text) + 7) // 8 * 8)  # so that the tensors start at a multiple of 8
    return len(text).to_bytes(8, "little") + text


def _shape(info: TensorInfo) -> tuple[int, ...]:
    """Return the shape as safetensors counts: of float4 in elements, not in pairs of them."""
    if NAMES[info.dtype] == "F4":
        return (*info.shape[:-1], 2 * info.shape[-1])
    return info.shape

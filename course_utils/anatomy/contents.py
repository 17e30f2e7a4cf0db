"""The tensors of a checkpoint or safetensors file, described at once and read block by block."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from zlib_ng import zlib_ng

from course_utils.anatomy.archive import Archive, read_archive, read_tensors
from course_utils.errors import (
    DamagedCheckpointError,
    MissingCheckpointError,
    UnsupportedCheckpointError,
)
from course_utils.formats.open import read_records
from course_utils.formats.pickle_nodes import Call, Global, PersistentId
from course_utils.formats.safetensors import MalformedHeaderError, read_header
from course_utils.formats.tensors import TensorInfo, is_tensor
from course_utils.formats.zip import Record

BLOCK = 16 << 20  # bytes of a tensor in memory at a time


def open_contents(path: str | os.PathLike[str]) -> Archive:
    """Open a checkpoint or a safetensors file; only its directory is read, and nothing is run.

    Raises:
        CheckpointError: see `anatomy.read_archive`.
    """
    path = Path(path)
    return _read_safetensors(path) if path.suffix == ".safetensors" else read_archive(path)


def blocks(archive: Archive, name: str) -> Iterator[Tensor]:
    """Yield a tensor's elements in order, as flat tensors of at most `BLOCK` bytes.

    A tensor that does not lie in its own order in the file is read whole.

    Raises:
        DamagedCheckpointError: bytes are missing.
    """
    info = archive.tensors[name]
    if info.record is None or info.nbytes <= BLOCK or info.stride != _dense(info.shape):
        (tensor,) = read_tensors(archive, [name], verify=False).values()
        yield tensor.clone(memory_format=torch.contiguous_format).flatten()
        return
    record, itemsize = archive.records[info.record], info.dtype.itemsize
    start = record.offset + info.storage_offset * itemsize
    with open(archive.path, "rb") as file:
        for done in range(0, info.nbytes, BLOCK):
            file.seek(start + done)
            data = bytearray(file.read(min(BLOCK, info.nbytes - done)))
            if len(data) < min(BLOCK, info.nbytes - done):
                raise DamagedCheckpointError(f"{archive.path}: the file ends in tensor {name}.")
            yield torch.frombuffer(data, dtype=info.dtype)


def damaged_records(path: str | os.PathLike[str]) -> dict[str, str]:
    """Compare every record of a checkpoint with its CRC-32; needs the memory of one block.

    Returns:
        What is wrong, by record name; empty if all is well.

    Raises:
        CheckpointError: the directory itself cannot be read; see `archive.read_records`.
    """
    path = Path(path)
    if path.suffix == ".safetensors":
        raise UnsupportedCheckpointError(f"{path}: the safetensors format has no checksums.")
    problems = {}
    records = read_records(path)
    with open(path, "rb") as file:
        for name, record in records.items():
            if record.compressed:
                problems[name] = "is compressed, so it was not written by torch.save"
            elif _crc32(file.fileno(), record) != record.crc32:
                problems[name] = "does not match its CRC-32: its bytes have changed"
    return problems


def plain_values(archive: Archive) -> tuple[dict[str, Any], list[str]]:
    """Return what a checkpoint holds beside tensors.

    Returns:
        Values that JSON can hold, by dotted path, and the paths of all others. Lists and tuples
        of such values stay in one piece.
    """
    values: dict[str, Any] = {}
    others: list[str] = []
    pending: list[tuple[str, Any, int]] = [("", archive.tree, 0)]
    while pending:
        path, node, depth = pending.pop()
        if isinstance(node, dict) and depth < 256:
            metadata = getattr(node, "state", None)
            inside = [*node.items(), *(metadata or {}).items()]
            prefix = f"{path}." if path else ""
            pending += [(f"{prefix}{_key(k)}", v, depth + 1) for k, v in reversed(inside)]
        elif _is_json(node):
            values[path] = node
        elif isinstance(node, list | tuple) and depth < 256:
            pending += [(f"{path}.{i}", v, depth + 1) for i, v in reversed(list(enumerate(node)))]
        elif not (isinstance(node, Call) and is_tensor(node)):
            others.append(path)
    return values, others


def _crc32(descriptor: int, record: Record) -> int:
    crc = 0
    for done in range(0, record.size, BLOCK):
        size = min(BLOCK, record.size - done)
        crc = zlib_ng.crc32(os.pread(descriptor, size, record.offset + done), crc)
    return crc


def _dense(shape: tuple[int, ...]) -> tuple[int, ...]:
    stride, step = [], 1
    for length in reversed(shape):
        stride.append(step)
        step *= max(length, 1)
    return tuple(reversed(stride))


def _is_json(node: Any, depth: int = 8) -> bool:
    if isinstance(node, list | tuple):
        return depth > 0 and all(_is_json(item, depth - 1) for item in node)
    return node is None or isinstance(node, bool | int | float | str)


def _key(key: Any) -> str:
    return str(key) if not isinstance(key, Call | Global | PersistentId) else repr(key)


def _read_safetensors(path: Path) -> Archive:
    try:
        with open(path, "rb") as file:
            header = read_header(file, os.fstat(file.fileno()).st_size)
    except FileNotFoundError:
        raise MissingCheckpointError(f"{path}: there is no such file.") from None
    except MalformedHeaderError as error:
        raise DamagedCheckpointError(f"{path}: {error}. Use another copy.") from None
    records, tensors = {}, {}
    for name, entry in header.tensors.items():
        size = entry.stop - entry.start
        records[name] = Record(name, entry.start, entry.start, entry.start, size, size, 0, False)
        tensors[name] = TensorInfo(
            name, entry.shape, _dense(entry.shape), entry.dtype, "cpu", name, 0, size, name, False
        )
    return Archive(path, records, tensors, frozenset(), header.metadata, b"")

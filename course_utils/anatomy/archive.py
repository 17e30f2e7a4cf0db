"""What a state_dict or a ``.pt`` file holds, told without running the file's pickle."""

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor
from zlib_ng import zlib_ng

from course_utils.errors import DamagedCheckpointError
from course_utils.formats.open import read_records
from course_utils.formats.pickle import Opcode, opcodes, read_pickle
from course_utils.formats.pickle_nodes import MalformedPickleError
from course_utils.formats.tensors import TensorInfo, find_tensors
from course_utils.formats.zip import Record
from course_utils.tables import Table

PICKLE = "data.pkl"
CONTAINER = 64 * 2**20  # a pickle larger than this is no list of tensors; 20,000 take 3 MB


def summarize(state_dict: Mapping[str, Any]) -> Table:
    """Return a table of a state_dict: key, shape, dtype, bytes, storage, shared with.

    Storages are numbered in order of appearance; tensors with the same number share memory.

    Args:
        state_dict: from names to tensors; other values are shown by their type.
    """
    owners: dict[int, tuple[int, str]] = {}  # number and first name, by the storage's address
    rows: list[tuple[object, ...]] = []
    for name, value in state_dict.items():
        if not isinstance(value, Tensor):
            rows.append((name, "", type(value).__name__, "", "", ""))
            continue
        address = value.untyped_storage()._cdata
        storage, owner = owners.setdefault(address, (len(owners), name))
        shared = owner if owner != name else ""
        size = f"{value.numel() * value.element_size():,}"
        rows.append((name, tuple(value.shape), str(value.dtype)[6:], size, storage, shared))
    return Table(rows, ["key", "shape", "dtype", "bytes", "storage", "shared with"])


def read_archive(path: str | os.PathLike[str]) -> "Archive":
    """Open a checkpoint's directory and pickle; the data stays on the disk.

    The time depends on the number of records and tensors, not on their size.

    Raises:
        MissingCheckpointError: there is no such file.
        NotACheckpointError: a folder, an empty file, text, or another kind of zip file.
        DamagedCheckpointError: the directory or the pickle is cut off or contradicts itself.
        UnsupportedCheckpointError: TorchScript, an exported program, or the format before 1.6.
    """
    path = Path(path)
    records = read_records(path)
    if PICKLE not in records:
        raise DamagedCheckpointError(f"{path}: the record {PICKLE} is missing.")
    if records[PICKLE].size > CONTAINER:
        raise DamagedCheckpointError(f"{path}: {PICKLE} has {records[PICKLE].size:,} bytes.")
    data = read_record(path, records[PICKLE])
    try:
        content = read_pickle(data)
        tensors = find_tensors(content.root, limit=len(data))
    except MalformedPickleError as error:
        raise DamagedCheckpointError(
            f"{path}: its {PICKLE} is damaged: {error}. Use an earlier checkpoint."
        ) from None
    imported = frozenset(map(str, content.globals))
    return Archive(path, records, tensors, imported, content.root, data)


def read_tensors(
    archive: "Archive", names: Iterable[str], *, verify: bool = True
) -> dict[str, Tensor]:
    """Read some tensors of a file; of all others, not a byte.

    A tensor that shows only part of its storage costs only the bytes from its first to its last
    element. Tensors that share a storage in the file do not share one here.

    Args:
        archive: from `read_archive`.
        names: dotted paths, as in ``archive.tensors``.
        verify: check the CRC-32 of records that are read whole.

    Returns:
        From each name to a CPU tensor of the file's shape, stride and dtype.

    Raises:
        KeyError: the file has no tensor of this name.
        DamagedCheckpointError: bytes are missing, or do not match their checksum.
    """
    with open(archive.path, "rb") as file:
        return {
            name: _read_tensor(archive, archive.tensors[name], file.fileno(), verify)
            for name in names
        }


class Span(NamedTuple):
    """A stretch of the file, from byte ``start`` up to, not including, ``stop``.

    ``kind`` is "tensor", "pickle", "other" (small records), "header" (the zip's own
    bookkeeping) or "padding".
    """

    start: int
    stop: int
    kind: str
    name: str


def byte_map(archive: "Archive") -> list[Span]:
    """Return what each byte of the file is for, in order and without gaps."""
    spans: list[Span] = []

    def add(stop: int, kind: str, name: str) -> None:
        start = spans[-1].stop if spans else 0
        if stop > start:
            spans.append(Span(start, stop, kind, name))

    data = {info.record for info in archive.tensors.values()}
    for record in sorted(archive.records.values(), key=lambda record: record.offset):
        kind = "tensor" if record.name in data else "other"
        add(record.padding, "header", record.name)
        add(record.offset, "padding", record.name)
        add(record.offset + record.stored, "pickle" if record.name == PICKLE else kind, record.name)
    add(archive.path.stat().st_size, "header", "directory")
    return spans


@dataclass(frozen=True, repr=False)
class Archive:
    """A checkpoint file, opened without running it.

    Attributes:
        path: the file.
        records: the zip's records by name, without the common prefix.
        tensors: by dotted path, for example ``model.layer1.0.weight``.
        globals: everything that loading would import, as ``module.name``.
        tree: the object the pickle would build, from plain containers and inert nodes.
    """

    path: Path
    records: Mapping[str, Record]
    tensors: Mapping[str, TensorInfo]
    globals: frozenset[str]
    tree: Any
    pickle: bytes = field(repr=False)

    def opcodes(self) -> list[Opcode]:
        """Return the instructions of the pickle."""
        return list(opcodes(self.pickle))

    @cached_property
    def table(self) -> Table:
        """One row per tensor."""
        rows = [
            (t.name, tuple(t.shape), str(t.dtype)[6:], f"{t.nbytes:,}", t.device, *self._place(t))
            for t in self.tensors.values()
        ]
        headers = ["tensor", "shape", "dtype", "bytes", "device", "record", "at byte"]
        return Table(rows, headers)

    def _place(self, tensor: TensorInfo) -> tuple[str, str]:
        record = self.records.get(tensor.record or "")
        if record is None:
            return "", ""
        return record.name, f"{record.offset + tensor.storage_offset * tensor.dtype.itemsize:,}"

    def __str__(self) -> str:
        return f"{self._headline()}\n{self.table}"

    __repr__ = __str__

    def _repr_html_(self) -> str:
        return f"<p>{self._headline()}</p>{self.table._repr_html_()}"

    def _headline(self) -> str:
        size = self.path.stat().st_size
        return (
            f"{self.path.name}: {size:,} bytes, {len(self.records)} records, "
            f"{len(self.tensors)} tensors"
        )


def read_record(path: Path, record: Record) -> bytes:
    """Read one record whole and check its CRC-32.

    Raises:
        DamagedCheckpointError: the bytes are compressed, missing, or do not match.
    """
    if record.compressed:
        raise DamagedCheckpointError(
            f"{path}: record {record.name} is compressed; torch.save never does that."
        )
    with open(path, "rb") as file:
        data = os.pread(file.fileno(), record.size, record.offset)
    _verify(path, record, data)
    return data


def _read_tensor(archive: Archive, info: TensorInfo, fd: int, verify: bool) -> Tensor:
    if info.record is None:
        return torch.empty_strided(info.shape, info.stride, dtype=info.dtype, device="meta")
    if not info.span:
        return torch.empty_strided(info.shape, info.stride, dtype=info.dtype)
    record = archive.records.get(info.record)
    itemsize = info.dtype.itemsize
    start = info.storage_offset * itemsize
    span = info.span * itemsize
    if record is None or record.compressed or start + span > record.size:
        raise DamagedCheckpointError(
            f"{archive.path}: tensor {info.name} needs bytes {start:,} to {start + span:,} of "
            f"record {info.record}, which does not hold them. Use an earlier checkpoint."
        )
    buffer = torch.empty(span, dtype=torch.uint8)
    view = memoryview(buffer.numpy())  # type: ignore[arg-type]
    _read_into(view, fd, record.offset + start)
    if verify and span == record.size:
        _verify(archive.path, record, view, info.name)
    return buffer.view(info.dtype).as_strided(info.shape, info.stride)


def _read_into(view: memoryview, fd: int, offset: int) -> None:
    done = 0
    while done < len(view):  # one call reads at most 2 GiB
        count = os.preadv(fd, [view[done:]], offset + done)
        if not count:
            raise DamagedCheckpointError(f"the file ends {len(view) - done:,} bytes too early.")
        done += count


def _verify(path: Path, record: Record, data: bytes | memoryview, tensor: str = "") -> None:
    if len(data) == record.size and zlib_ng.crc32(data) == record.crc32:
        return
    owner = f" (tensor {tensor})" if tensor else ""
    raise DamagedCheckpointError(
        f"{path}: record {record.name}{owner} does not match its checksum: its bytes have "
        "changed since it was saved. Use an earlier checkpoint."
    )

"""What a state_dict or a ``.pt`` file holds, told without running the file's pickle."""

import os
from collections.abc import Iterable, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from course_utils.anatomy.read import read_tensor
from course_utils.errors import DamagedCheckpointError
from course_utils.files.contents import open_contents
from course_utils.files.open_file import OpenFile
from course_utils.formats.checksum import crc32, problem_of
from course_utils.formats.contents import CHECKPOINT, Contents
from course_utils.formats.open import require_tensors
from course_utils.formats.pickle import Opcode, opcodes
from course_utils.formats.tensors import TensorInfo
from course_utils.formats.zip import Record
from course_utils.tables import Table


def summarize(state_dict: Mapping[str, Any]) -> Table:
    """Return a table of a state_dict: key, shape, dtype, bytes, storage, shared with.

    Storages are numbered in order of appearance; tensors with the same number share memory.

    Args:
        state_dict: from names to tensors; other values are shown by their type, sparse and nested
            tensors by their layout, without bytes and storage.
    """
    owners: dict[int, tuple[int, str]] = {}  # number and first name, by the storage's address
    rows: list[tuple[object, ...]] = []
    for name, value in state_dict.items():
        if not isinstance(value, Tensor):
            rows.append((name, "", type(value).__name__, "", "", ""))
            continue
        if value.is_nested or value.layout != torch.strided:  # it has no one storage
            kind = "nested" if value.is_nested else str(value.layout)[6:]
            shape = "" if value.is_nested else tuple(value.shape)
            rows.append((name, shape, f"{str(value.dtype)[6:]} ({kind})", "", "", ""))
            continue
        address = value.untyped_storage()._cdata
        storage, owner = owners.setdefault(address, (len(owners), name))
        shared = owner if owner != name else ""
        size = f"{value.numel() * value.element_size():,}"
        rows.append((name, tuple(value.shape), str(value.dtype)[6:], size, storage, shared))
    return Table(rows, ["key", "shape", "dtype", "bytes", "storage", "shared with"])


def read_archive(path: str | os.PathLike[str]) -> "Archive":
    """Open a checkpoint's directory and pickle; the data stays on the disk.

    The time depends on the number of records and tensors, not on their size. The file stays open
    as long as the archive lives: what is read later is of the same file.

    Args:
        path: a checkpoint or a safetensors file, whatever its name.

    Raises:
        MissingCheckpointError: there is no such file.
        NotACheckpointError: a folder, an empty file, text, or another kind of zip file.
        DamagedCheckpointError: the directory or the pickle is cut off or contradicts itself.
        UnsupportedCheckpointError: TorchScript, an exported program, or the format before 1.6.
    """
    return Archive(*require_tensors(open_contents(path)))


def read_tensors(
    contents: Contents, names: Iterable[str], *, verify: bool = True
) -> dict[str, Tensor]:
    """Read some tensors of a file; of all others, not a byte.

    A tensor that shows only part of its storage costs only the bytes from its first to its last
    element. Tensors that share a storage in the file do not share one here.

    Args:
        contents: from `read_archive`.
        names: dotted paths, as in ``contents.tensors``.
        verify: check the CRC-32 of records that are read whole.

    Returns:
        From each name to a CPU tensor of the file's shape, dtype and stride; one that is stored
        as the conjugate or negative of its elements comes with that carried out.

    Raises:
        KeyError: the file has no tensor of this name.
        DamagedCheckpointError: bytes are missing, or do not match their checksum.
    """
    return {name: read_tensor(contents, contents.tensors[name], verify) for name in names}


class Archive(Contents):
    """A checkpoint file, opened without running it, readable as text and as HTML."""

    def opcodes(self) -> list[Opcode]:
        """Return the instructions of the pickle."""
        return list(opcodes(self.pickle))

    @cached_property
    def table(self) -> Table:
        """One row per tensor."""
        rows = [
            (t.name, tuple(t.shape), t.dtype, f"{t.nbytes:,}", t.device, *self._place(t))
            for t in self.tensors.values()
        ]
        headers = ["tensor", "shape", "dtype", "bytes", "device", "record", "at byte"]
        return Table(rows, headers)

    def _place(self, tensor: TensorInfo) -> tuple[str, str]:
        record = self.records.get(tensor.record or "")
        if record is None:
            return "", ""
        return record.name, f"{record.offset + tensor.storage_offset * tensor.itemsize:,}"

    def __str__(self) -> str:
        return f"{self._headline()}\n{self.table}"

    __repr__ = __str__

    def _repr_html_(self) -> str:
        return f"<p>{self._headline()}</p>{self.table._repr_html_()}"

    def _headline(self) -> str:
        size = self.source.size
        return (
            f"{self.path.name}: {size:,} bytes, {len(self.records)} records, "
            f"{len(self.tensors)} tensors"
        )


def read_record(path: str | os.PathLike[str], record: Record) -> bytes:
    """Read one record whole and check its CRC-32.

    Raises:
        DamagedCheckpointError: the bytes are missing, or do not match.
    """
    with OpenFile(path) as file:
        source = Contents(Path(path), file, CHECKPOINT).content(record)
        data = source.read_at(0, source.size)
    problem = problem_of(record, crc32(data))
    if problem:
        raise DamagedCheckpointError(
            f"{path}: record {record.name}: {problem}. Use an earlier checkpoint."
        )
    return data

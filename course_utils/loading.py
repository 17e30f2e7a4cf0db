"""Read a checkpoint: every byte verified, then the pickle, which may build plain data only."""

import os
import pickle
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, BinaryIO

import torch
from torch import _weights_only_unpickler
from zlib_ng import zlib_ng

from course_utils.errors import (
    DamagedCheckpointError,
    MissingCheckpointError,
    NotACheckpointError,
    UnsafeCheckpointError,
    UnsupportedCheckpointError,
)
from course_utils.locks import lock_shared

LEGACY_START = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."  # torch.save before version 1.6
END_OF_DIRECTORY = b"PK\x05\x06"


def load_checkpoint(
    path: str | os.PathLike[str], map_location: Any = "cpu", *, mmap: bool = False
) -> Any:
    """Load a checkpoint, verifying the CRC-32 of every record; no code in it can run.

    Args:
        path: a file by ``save_checkpoint`` or ``torch.save``.
        map_location: as for ``torch.load``; the default brings every tensor to the CPU.
        mmap: map the file instead of reading it; the CRC-32s of tensors are not verified then.

    Raises:
        MissingCheckpointError: there is no such file.
        NotACheckpointError: a folder, an empty file, text, or another format.
        DamagedCheckpointError: truncated, or bytes have changed; names the record.
        UnsupportedCheckpointError: TorchScript, or the format from before PyTorch 1.6.
        UnsafeCheckpointError: the pickle needs more than tensors and plain containers.
    """
    path = Path(path)
    with _open(path) as file:
        lock_shared(file.fileno())  # retention leaves a file alone while it is being read
        _refuse_other_formats(path, file)
        with _damage_explained(path):
            archive = _Archive(path, file)
            archive.verify()
            if mmap:
                return torch.load(path, map_location=map_location, weights_only=True, mmap=True)
            return torch.serialization._load(
                archive, map_location, _weights_only_unpickler, weights_only=True, encoding="utf-8"
            )


class _Archive:
    """The records of a checkpoint, with the methods torch's own loader asks for."""

    def __init__(self, path: Path, file: BinaryIO) -> None:
        self.path = path
        with self._naming("its directory"):
            self.zip = zipfile.ZipFile(file)
        names = self.zip.namelist()
        pickles = [name for name in names if name.count("/") == 1 and name.endswith("/data.pkl")]
        if not pickles:
            raise NotACheckpointError(f"{path}: a zip archive, but not a checkpoint: no data.pkl")
        self.prefix = pickles[0].removesuffix("data.pkl")
        self.records = {i.filename.removeprefix(self.prefix): i for i in self.zip.infolist()}
        if "constants.pkl" in self.records:
            raise UnsupportedCheckpointError(
                f"{path}: a TorchScript program, not a checkpoint. Load it with torch.jit.load, "
                "only if you trust whoever made it."
            )

    def verify(self) -> None:
        """Read every record once and compare its CRC-32 with the directory's."""
        for name, info in self.records.items():
            if info.compress_type != zipfile.ZIP_STORED:
                raise UnsupportedCheckpointError(f"{self.path}: record {name} is compressed")
            with self._naming(f"record {name}"), self.zip.open(info) as record:
                record._expected_crc = None  # type: ignore[attr-defined]  # compared below, faster
                if _crc32(record) != info.CRC:
                    raise zipfile.BadZipFile("its bytes have changed: the CRC-32 differs")

    def has_record(self, name: str) -> bool:
        # Without a format version torch asks for offsets instead of computing them.
        return name in self.records and name != ".format_version"

    def get_record_offset(self, name: str) -> int:
        with self.zip.open(self.records[name]) as record:
            return record._orig_compress_start  # type: ignore[attr-defined]

    def get_record(self, name: str) -> bytes:
        return self.zip.read(self.records[name])

    def get_storage_from_record(self, name: str, nbytes: int, _kind: type) -> torch.Tensor:
        if nbytes != self.records[name].file_size:
            raise pickle.UnpicklingError(f"record {name} does not have the {nbytes} bytes it needs")
        storage = torch.UntypedStorage(nbytes)
        tensor = torch.empty(0, dtype=torch.uint8).set_(storage)
        with self.zip.open(self.records[name]) as record:
            record.readinto(tensor.numpy())  # type: ignore[attr-defined]
        return tensor

    def serialization_id(self) -> str:
        return self.get_record(".data/serialization_id").decode()

    @contextmanager
    def _naming(self, part: str) -> Iterator[None]:
        try:
            yield
        except (zipfile.BadZipFile, EOFError, NotImplementedError, ValueError) as error:
            raise DamagedCheckpointError(
                f"{self.path}: damaged in {part}: {error}. Use an older checkpoint or another copy."
            ) from error


def _crc32(record: IO[bytes]) -> int:
    crc = 0
    while block := record.read(1 << 22):
        crc = zlib_ng.crc32(block, crc)
    return crc


def _open(path: Path) -> BinaryIO:
    try:
        return open(path, "rb")
    except FileNotFoundError as error:
        raise MissingCheckpointError(f"{path}: there is no such file") from error
    except IsADirectoryError as error:
        raise NotACheckpointError(f"{path}: a folder, not a checkpoint file") from error


def _refuse_other_formats(path: Path, file: BinaryIO) -> None:
    """Tell by its first and last bytes what a file is, if it is no zip archive."""
    start = file.read(16)
    file.seek(max(0, os.fstat(file.fileno()).st_size - 22))
    end = file.read()
    if not start:
        raise NotACheckpointError(f"{path}: an empty file. Use an older checkpoint.")
    if start.startswith(LEGACY_START):
        raise UnsupportedCheckpointError(
            f"{path}: written in the format from before PyTorch 1.6, which holds no checksums. "
            "If you trust it, load it with torch.load and save it again."
        )
    if not start.startswith(b"PK\x03\x04") and not end.startswith(END_OF_DIRECTORY):
        raise NotACheckpointError(f"{path}: not a PyTorch file, it begins with {start[:8]!r}")


@contextmanager
def _damage_explained(path: Path) -> Iterator[None]:
    try:
        yield
    except pickle.UnpicklingError as error:
        raise UnsafeCheckpointError(
            f"{path}: refused, for its pickle asks for more than tensors and plain containers: "
            f"{error}"
        ) from error
    except (LookupError, TypeError, AttributeError, AssertionError, EOFError, ValueError) as error:
        raise DamagedCheckpointError(
            f"{path}: its pickle does not fit its records: {error!r}"
        ) from error

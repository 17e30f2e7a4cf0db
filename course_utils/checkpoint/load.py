"""Read a checkpoint: every byte verified, then the pickle, which may build plain data only."""

import mmap as mmap_module
import os
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from mmap import MAP_PRIVATE, PROT_READ, PROT_WRITE
from mmap import mmap as MemoryMap
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, UntypedStorage

from course_utils.checkpoint.assign_mark import take_out_marks
from course_utils.checkpoint.build import PROTOCOL, NotBuiltError, build
from course_utils.checkpoint.explain import explained, with_callers_errors
from course_utils.checkpoint.load_others import (
    CompressedError,
    load_compressed,
    load_unverifiable,
    refuse_unturned,
    say_unverifiable,
)
from course_utils.checkpoint.torch_versions import (
    is_meta,
    load_public,
    private_loader,
    refuse_unless_plain,
)
from course_utils.checkpoint.verified_read import StorageReader, has_checksums, read_short
from course_utils.errors import (
    DamagedCheckpointError,
    DamagedRecordError,
    UnsupportedCheckpointError,
)
from course_utils.files.locks import lock_shared, not_for_children
from course_utils.files.open_file import OpenFile
from course_utils.formats.checksum import is_unchecked
from course_utils.formats.contents import CHECKPOINT, Contents
from course_utils.formats.garbage import collector_paused
from course_utils.formats.open import open_contents, read_records, require_tensors
from course_utils.formats.pickle import read_pickle
from course_utils.formats.pickle_nodes import MalformedPickleError
from course_utils.formats.torch_layout import follows_layout, predict
from course_utils.formats.zip import ZIP, Locate, Record

# Python names the flag from 3.13 on; on Linux it is this number on the usual processors.
NO_RESERVE = getattr(mmap_module, "MAP_NORESERVE", 0x4000 if sys.platform == "linux" else 0)


def load_checkpoint(
    path: str | os.PathLike[str],
    map_location: Any = "cpu",
    *,
    mmap: bool = False,
    verify_mapped: bool = False,
) -> Any:
    """Load a checkpoint with the CRC-32 of every record verified; no code in it can run.

    The mark that ``load_state_dict(assign=True)`` leaves is taken out, with one warning.
    Tensors are read straight into their final memory, by several threads. On the ``"meta"``
    device they are not read, and not verified.

    Args:
        path: a file by ``save_checkpoint`` or ``torch.save``, also from before PyTorch 1.6, or a
            safetensors file. The last two, and archives that were saved without checksums, are
            loaded with one warning: nothing can tell whether their bytes have changed.
        map_location: as for ``torch.load``; the default brings every tensor to the CPU.
        mmap: map the file instead of reading it: a tensor is read when it is first used, and
            not verified. Whoever overwrites a mapped file in place ends this process with
            SIGBUS; ``save_checkpoint`` replaces files instead.
        verify_mapped: with ``mmap``, verify the tensors too, which reads all of the file once.

    Raises:
        MissingCheckpointError: there is no such file.
        NotACheckpointError: a folder, an empty file, text, or another format.
        DamagedCheckpointError: truncated, or bytes have changed; names record and tensors.
        UnsupportedCheckpointError: TorchScript, or a file that torch's safe loader cannot read
            though it is plain data; says the way out.
        UnsafeCheckpointError: the pickle needs more than tensors and plain containers; or, under
            PyTorch before 2.10, its audit says anything else than plain data.
        UnreadableCheckpointError: the system does not let it be read.
        TypeError: ``map_location`` is of a kind that torch does not know. What your own function
            raises comes through, with a note.
        RuntimeError: torch's own, for example because a device is missing.
    """
    with not_for_children(lambda: OpenFile(path)) as file:
        return load_open(file, map_location, mmap=mmap, verify_mapped=verify_mapped)


def load_open(
    file: OpenFile, map_location: Any = "cpu", *, mmap: bool = False, verify_mapped: bool = False
) -> Any:
    """Do what `load_checkpoint` does with a file that is open already."""
    state = _load(file, map_location, mmap, verify_mapped)
    take_out_marks(state, file.path)
    return state


class _Asked(NamedTuple):
    """How a file is to be loaded: see `load_checkpoint`."""

    map_location: Any
    place: Any  # the same, with errors that are not the file's
    mmap: bool
    verify_mapped: bool

    @property
    def filled(self) -> bool:
        """Whether tensors get their values now."""
        return not self.mmap and not is_meta(self.map_location)


def _load(file: OpenFile, map_location: Any, mmap: bool, verify_mapped: bool) -> Any:
    path = file.path
    place = with_callers_errors(map_location)
    with explained(path):
        lock_shared(file)  # retention leaves a file alone while it is being read
        if file.read_at(0, 4) != ZIP:
            return load_unverifiable(file, place, mmap=mmap)
        reading = partial(_read, file, _Asked(map_location, place, mmap, verify_mapped))
        try:
            with suppress(DamagedRecordError, DamagedCheckpointError):
                return reading(stored_records(path, file, predict), predicted=True)
            # Damaged, or laid out by another program: a stricter reading tells.
            return reading(stored_records(path, file), predicted=False)
        except CompressedError:
            return load_compressed(file, place, mmap=mmap)


def _read(file: OpenFile, asked: _Asked, records: Mapping[str, Record], *, predicted: bool) -> Any:
    others = read_others(file, records)
    is_turned = others.get("byteorder", b"little").decode() != sys.byteorder
    if is_turned:
        refuse_unturned(open_contents(file, file.path))
    refuse_unless_plain(file)
    tensors = [record for record in records.values() if _holds_tensor(record)]
    checksums = has_checksums(records.values())
    take = _mapped(file) if asked.mmap else None
    # Numbers of the other byte order are turned by torch.
    built = None if is_turned else _built(others["data.pkl"], asked.map_location, records, take)
    into = built.memory if built and not asked.mmap else {}
    with StorageReader(file.fileno(), tensors, checksums=checksums, into=into) as reader:
        if asked.mmap and asked.verify_mapped:
            reader.verify_rest()
        state = built.state if built else _by_torch(file, asked, records, others, reader, take)
        if asked.filled:
            reader.verify_rest()
    alignment = others.get(".storage_alignment")
    if not follows_layout(file, list(records.values()), alignment) and predicted:
        raise DamagedRecordError(None, "it is not laid out as torch does")
    unchecked = sum(map(is_unchecked, tensors)) if checksums else None
    if unchecked != 0:
        say_unverifiable(file.path, unchecked)
    return state


_Take = Callable[[Record], UntypedStorage]


class _Built(NamedTuple):
    """A state, and the memory that its tensors lie in, by record."""

    state: Any
    memory: dict[str, UntypedStorage]


def _built(
    content: bytes, map_location: Any, records: Mapping[str, Record], take: _Take | None
) -> _Built | None:
    """Build a state from its pickle, its tensors' memory not filled yet; None if torch has to."""
    if map_location not in ("cpu", torch.device("cpu")) or not content.startswith(PROTOCOL):
        return None
    memory: dict[str, UntypedStorage] = {}

    def storage(name: str, nbytes: int) -> UntypedStorage:
        record = records.get(name)
        if record is None or record.size != nbytes:
            raise NotBuiltError(f"record {name} is not as the pickle says")
        memory[name] = take(record) if take and nbytes else UntypedStorage(nbytes)
        return memory[name]

    try:
        with collector_paused():
            return _Built(build(read_pickle(content), storage), memory)
    except (NotBuiltError, MalformedPickleError):  # torch builds it, or says why not
        return None


def _by_torch(
    file: OpenFile,
    asked: _Asked,
    records: Mapping[str, Record],
    others: Mapping[str, bytes],
    reader: StorageReader,
    take: _Take | None,
) -> Any:
    load = private_loader()
    if load is not None:
        return load(_Archive(file.path, records, others, take or reader.take), asked.place)
    return load_public(file, asked.place, asked.mmap)


class _Archive:
    """The records of a file, with the methods by which torch's own loader asks for them."""

    def __init__(
        self,
        path: Path,
        records: Mapping[str, Record],
        contents: Mapping[str, bytes],
        take: _Take,
    ) -> None:
        self._path, self._records, self._contents, self._take = path, records, contents, take

    def has_record(self, name: str) -> bool:
        # Without a format version torch asks where a record is instead of computing it.
        return name in self._records and name != ".format_version"

    def get_record(self, name: str) -> bytes:
        return self._contents[name]

    def get_record_offset(self, name: str) -> int:
        return self._records[name].offset

    def get_storage_from_record(self, name: str, nbytes: int, _kind: type) -> Tensor:
        record = self._records.get(name)
        if record is None:
            raise DamagedRecordError(name, "it is missing, and tensors lie in it")
        if nbytes > record.size:
            raise DamagedRecordError(
                name, f"its tensor needs {nbytes:,} bytes, not {record.size:,}"
            )
        if nbytes < record.size:  # nothing is lost, and torch does not load it
            raise UnsupportedCheckpointError(
                f"{self._path}: record {name} has {record.size:,} bytes, its tensor {nbytes:,}: "
                "torch writes and loads none such. `ckpt convert` takes its tensors out."
            )
        storage = self._take(record) if nbytes else UntypedStorage(0)
        return torch.empty(0, dtype=torch.uint8, device="cpu").set_(storage)

    def serialization_id(self) -> str:
        return self._contents.get(".data/serialization_id", b"").decode()


def _mapped(file: OpenFile) -> _Take:
    """Map a file, privately: what a program writes into its tensors does not reach the file.

    No memory is set aside for what it might write, so the file may be larger than there is.
    """
    content = MemoryMap(
        file.fileno(), 0, flags=MAP_PRIVATE | NO_RESERVE, prot=PROT_READ | PROT_WRITE
    )
    whole = torch.frombuffer(content, dtype=torch.uint8).untyped_storage()
    return lambda record: whole[record.offset : record.offset + record.size]


def stored_records(path: Path, file: OpenFile, locate: Locate | None = None) -> dict[str, Record]:
    """Return the records of an open checkpoint by name.

    Raises:
        CompressedError: one is compressed: another program packed the archive anew.
    """
    kind, records = read_records(file, path, locate)
    if kind != CHECKPOINT:
        require_tensors(Contents(path, file, kind))
    for record in records.values():
        if record.compressed:
            raise CompressedError(f"{path}: record {record.name} is compressed.")
    return records


def read_others(file: OpenFile, records: Mapping[str, Record]) -> dict[str, bytes]:
    """Read and verify the records that are not tensors: the pickle and some short ones."""
    checksums = has_checksums(records.values())
    return {
        record.name: read_short(file, record, checksums=checksums)
        for record in records.values()
        if not _holds_tensor(record)
    }


def _holds_tensor(record: Record) -> bool:
    return record.name.startswith("data/")

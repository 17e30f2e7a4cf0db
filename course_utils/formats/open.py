"""Says what a file is, by its content, and describes what it holds."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from course_utils.errors import (
    DamagedCheckpointError,
    NotACheckpointError,
    UnsupportedCheckpointError,
)
from course_utils.formats.block_offsets import offsets_of
from course_utils.formats.checksum import crc32, problem_of
from course_utils.formats.contents import (
    CHECKPOINT,
    COMPILED,
    LEGACY,
    OTHER_ZIP,
    PICKLE,
    PROGRAM,
    SAFETENSORS,
    SCRIPT,
    TAR,
    Contents,
)
from course_utils.formats.find_tensors import find_tensors
from course_utils.formats.garbage import collector_paused
from course_utils.formats.pickle import begins_pickle, read_pickle
from course_utils.formats.pickle_nodes import MalformedPickleError, NotReadError
from course_utils.formats.safetensors import (
    AmbiguousHeaderError,
    MalformedHeaderError,
    UnknownDtypeError,
    is_safetensors,
    read_header,
)
from course_utils.formats.source import Source, Window
from course_utils.formats.tensors import OtherTensor, TensorInfo
from course_utils.formats.zip import EMPTY_ZIP, ZIP, Locate, Record, read_directory
from course_utils.formats.zip_entries import AmbiguousZipError, ForeignZipError, MalformedZipError
from course_utils.formats.zip_kinds import why_no_checkpoint, without_folder, zip_kind

if TYPE_CHECKING:
    from course_utils.formats.legacy import Legacy

LARGEST_PICKLE = 2**31  # bytes; 20,000 tensors take 3 MB
REMEDY = "Use an earlier checkpoint."


def open_contents(source: Source, path: str | os.PathLike[str]) -> Contents:
    """Describe a file. Its name plays no part in what it is taken for.

    Tensors are described for checkpoints and safetensors files; of other kinds only the records.

    Args:
        source: its bytes.
        path: its name, for messages.

    Raises:
        NotACheckpointError: an empty file, text, or another kind of file.
        DamagedCheckpointError: it is cut off or contradicts itself.
        UnsupportedCheckpointError: this version does not know what it holds.
    """
    with collector_paused():
        return _open(source, Path(path))


def _open(source: Source, path: Path) -> Contents:
    start = source.read_at(0, 512)
    if start.startswith((ZIP, EMPTY_ZIP)):
        return _open_zip(source, path)
    if is_safetensors(source):
        return _open_safetensors(source, path)
    if (begins_pickle(start) or start[:1] == b"L") and (found := _open_stream(source, path, start)):
        return found
    if start[257:262] == b"ustar":
        return _open_tar(source, path)
    if not start:
        raise NotACheckpointError(f"{path} is empty. Was the disk full when it was saved?")
    from course_utils.formats import neighbours  # few files need it

    if neighbour := neighbours.find_neighbour(source):
        raise neighbours.another_format(path, neighbour)
    raise NotACheckpointError(
        f"{path} is not a checkpoint: it begins with {start[:12]!r}, not with {ZIP!r}."
    )


def require_tensors(contents: Contents) -> Contents:
    """Return what was given, if its tensors are described.

    Raises:
        UnsupportedCheckpointError, NotACheckpointError: they are not; says what the file is.
    """
    if contents.kind == OTHER_ZIP:
        raise NotACheckpointError(f"{contents.path} is {why_no_checkpoint(contents.records)}.")
    if contents.is_described:
        return contents
    raise _NOT_OPENED[contents.kind](contents.path)


def read_records(
    source: Source, path: Path, locate: Locate | None = None
) -> tuple[str, dict[str, Record]]:
    """Read an archive's directory.

    Returns:
        The kind of the archive, and its records by name: of torch's, without the folder they share.

    Raises:
        DamagedCheckpointError: the directory is gone or contradicts the file.
    """
    try:
        records = read_directory(source, locate)
    except ForeignZipError as error:
        raise NotACheckpointError(
            f"{path} is a zip file, and no checkpoint: {error}. Unpack it first."
        ) from None
    except MalformedZipError as error:
        from course_utils.formats import zip_row  # few files need it

        if locate is None and zip_row.split(Window(source)):  # a guess is read again, strictly
            raise UnsupportedCheckpointError(
                f"{path} is {zip_row.WHAT}. Name the folder of a distributed checkpoint; "
                "of several saves torch.load mixes the bytes: save one dict instead."
            ) from None
        made = ", or made so" * isinstance(error, AmbiguousZipError)
        raise DamagedCheckpointError(
            f"{path}: its zip directory, at the end of the file, cannot be relied on: {error}. "
            f"The file was cut off or overwritten{made}; use an earlier checkpoint."
        ) from None
    prefix, named, together = without_folder(records)
    kind = zip_kind(named)
    if kind == CHECKPOINT and not together:
        raise NotACheckpointError(
            f"{path} is a zip file with records outside of {prefix or 'a folder'}: torch.save did "
            "not write it."
        )
    if kind == OTHER_ZIP:
        return kind, {record.name: record for record in records}
    return kind, {name: record._replace(name=name) for name, record in named.items()}


def _open_zip(source: Source, path: Path) -> Contents:
    kind, records = read_records(source, path)
    bare = Contents(path, source, kind, records)
    if kind == OTHER_ZIP:
        from course_utils.formats import neighbours

        if neighbour := neighbours.find_neighbour_in_zip(bare):
            raise neighbours.another_format(path, neighbour)
    if kind != CHECKPOINT:
        return bare
    if records["data.pkl"].size > LARGEST_PICKLE:
        size = records["data.pkl"].size
        raise UnsupportedCheckpointError(f"{path}: its data.pkl has {size:,} bytes, too many.")
    data = bare.content(records["data.pkl"])
    pickle = data.read_at(0, data.size)
    checksums = any(record.crc32 for record in records.values() if record.size)
    problem = problem_of(records["data.pkl"], crc32(pickle)) if checksums else None
    if problem:
        raise DamagedCheckpointError(f"{path}: record data.pkl: {problem}. {REMEDY}")
    try:
        content = read_pickle(pickle)
        found = find_tensors(content.root, limit=len(pickle))
    except NotReadError as error:
        raise UnsupportedCheckpointError(f"{path}: its data.pkl is not read: {error}.") from None
    except MalformedPickleError as error:
        raise _senseless(path, error, checksums) from None
    return Contents(
        path, source, kind, records, found.tensors, found.others, found.collided,
        globals=frozenset(map(str, content.globals)),
        tree=content.root,
        pickle=pickle,
        byteorder=_byteorder(bare),
        checksums=checksums,
    )  # fmt: skip


def _senseless(path: Path, error: MalformedPickleError, checksums: bool) -> Exception:
    """Return what to raise for a pickle that cannot be followed."""
    if checksums:
        return UnsupportedCheckpointError(
            f"{path}: its data.pkl is as it was written, by its checksum, but this version cannot "
            f"read it: {error}. See what `ckpt audit` says."
        )
    return DamagedCheckpointError(f"{path}: its data.pkl is damaged: {error}. {REMEDY}")


def _open_stream(source: Source, path: Path, start: bytes) -> Contents | None:
    from course_utils.formats.legacy import is_legacy, read_stream  # few files need it

    if is_legacy(start):
        return _open_old(source, path, LEGACY, read_stream)
    from course_utils.formats import neighbours

    if neighbours.is_paddle(source):
        raise neighbours.another_format(path, neighbours.PADDLE)
    return Contents(path, source, PICKLE, checksums=False) if start[:1] == b"\x80" else None


def _open_tar(source: Source, path: Path) -> Contents:
    from course_utils.formats.legacy_tar import is_checkpoint, members_of, read_tar

    members = members_of(Window(source))
    if not is_checkpoint(members):
        raise NotACheckpointError(f"{path} is a tar file, and no checkpoint. Unpack it first.")
    return _open_old(source, path, TAR, lambda file: read_tar(file, members))


def _open_old(
    source: Source, path: Path, kind: str, read: Callable[[Window], "Legacy"]
) -> Contents:
    try:
        content, pickle, records = read(Window(source))
        found = find_tensors(content.root, limit=len(pickle))
    except NotReadError as error:
        raise UnsupportedCheckpointError(f"{path}: its pickle is not read: {error}.") from None
    except MalformedPickleError as error:
        raise DamagedCheckpointError(f"{path} is damaged: {error}. {REMEDY}") from None
    return Contents(
        path, source, kind, records, found.tensors, found.others, found.collided,
        globals=frozenset(map(str, content.globals)),
        tree=content.root,
        pickle=pickle,
        checksums=False,
    )  # fmt: skip


def _byteorder(contents: Contents) -> str:
    record, path = contents.records.get("byteorder"), contents.path
    if record is None:
        return "little"
    text = contents.content(record).read_at(0, 64)
    if text in (b"little", b"big"):
        return text.decode()
    if crc32(text) == record.crc32:
        raise UnsupportedCheckpointError(
            f"{path}: its bytes are as they were written, but its byte order is {text!r}, which "
            "torch does not know either."
        )
    raise DamagedCheckpointError(f"{path}: its byte order is {text!r}. {REMEDY}")


def _open_safetensors(source: Source, path: Path) -> Contents:
    try:
        header = read_header(source)
    except (UnknownDtypeError, AmbiguousHeaderError) as error:
        raise UnsupportedCheckpointError(f"{path}: {error}.") from None
    except MalformedHeaderError as error:
        raise DamagedCheckpointError(f"{path}: {error}. Use another copy.") from None
    records, tensors = {}, {}
    for name, entry in header.tensors.items():
        size = entry.stop - entry.start
        records[name] = Record(name, entry.start, entry.start, entry.start, size, size, 0, False)
        tensors[name] = TensorInfo(
            name, entry.shape, dense(entry.shape), entry.dtype, "cpu", name, 0, size, name, False
        )
    others = {
        name: OtherTensor(
            name, "block", tensors[name].shape, tensors[name].dtype,
            f"it is a block of a larger tensor, from {offsets} on: name the folder of all blocks",
        )
        for name, offsets in offsets_of(header.metadata).items()
        if name in tensors and any(offsets)
    }  # fmt: skip
    whole = {name: info for name, info in tensors.items() if name not in others}
    return Contents(
        path, source, SAFETENSORS, records, whole, others, tree=header.metadata, checksums=False
    )


def dense(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Return the stride of a tensor whose elements lie in order, without gaps."""
    stride, step = [], 1
    for length in reversed(shape):
        stride.append(step)
        step *= max(length, 1)
    return tuple(reversed(stride))


_NOT_OPENED: dict[str, Callable[[Path], Exception]] = {
    SCRIPT: lambda path: UnsupportedCheckpointError(
        f"{path} is a TorchScript archive, a program and not a checkpoint. "
        "Open it with course_utils.portable.load_script."
    ),
    PROGRAM: lambda path: UnsupportedCheckpointError(
        f"{path} is an exported program (.pt2). Open it with torch.export.load."
    ),
    COMPILED: lambda path: UnsupportedCheckpointError(
        f"{path} is a program compiled by AOTInductor (.pt2). Open it with "
        "torch._inductor.aoti_load_package."
    ),
    PICKLE: lambda path: NotACheckpointError(
        f"{path} is a plain pickle, which torch.save did not write. See what `ckpt audit` says."
    ),
}

"""Reads a file in every way that torch, pickle or safetensors might, running nothing.

One file can be several things at once: a pickle with a zip archive at its end, say. So each
reading that succeeds is judged, and being more than one thing is a finding too.
"""

import zipfile
import zlib
from collections.abc import Callable, Iterable

from course_utils.formats import zip_row
from course_utils.formats.checksum import crc32
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
)
from course_utils.formats.evidence import Evidence
from course_utils.formats.exported_program import NATIVE, program_problems
from course_utils.formats.judge import Verdict
from course_utils.formats.open import LARGEST_PICKLE
from course_utils.formats.pickle import Pickle, scan_next
from course_utils.formats.pickle_rows import inspect_legacy, inspect_pickles, inspect_tar
from course_utils.formats.safetensors import (
    AmbiguousHeaderError,
    MalformedHeaderError,
    UnknownDtypeError,
    read_header,
)
from course_utils.formats.source import Memory, Window
from course_utils.formats.storages import storage_of
from course_utils.formats.zip import ZIP, Record, end_of_archive, read_directory
from course_utils.formats.zip_entries import ForeignZipError, MalformedZipError
from course_utils.formats.zip_kinds import why_no_checkpoint, without_folder, zip_kind

LARGEST_PART = 64 * 2**20  # bytes of a pickle or program; 20,000 tensors take 3 MB
DEEPEST = 3  # files in files in files
OLD_GRAPH = "serialized_exported_program.json"  # torch before 2.7 put no folder around a program
PICKLES = (".pkl", ".pickle", ".debug_pkl", ".pt", ".pth", ".bin")


def inspect(file: Window, where: str, evidence: Evidence, depth: int = 0) -> list[str]:
    """Look at a file in every way it could be read, and add what is found.

    Args:
        file: the file, or a part of one.
        where: its place, put before the names of its parts.
        evidence: is added to.
        depth: how many files this one lies in.

    Returns:
        What the file is; more than one thing for a file that tricks.
    """
    if depth > DEEPEST:
        unread = f"holds files nested more than {DEEPEST} deep, which are not read and may run code"
        evidence.no_checkpoint(where, unread)
        return []
    file.seek(0)
    if file.read(4) == ZIP:
        kinds = [_inspect_zip(file, where, evidence, depth)]
    else:
        readers: Iterable[tuple[str, Callable[[Window, str, Evidence], bool]]] = (
            (TAR, inspect_tar),
            (SAFETENSORS, _inspect_safetensors),
            (LEGACY, inspect_legacy),
        )
        kinds = [kind for kind, read in readers if read(file, where, evidence)]
        # The length of a safetensors header may begin as a pickle does, with 0x80.
        marked = SAFETENSORS not in kinds
        if LEGACY not in kinds and inspect_pickles(file, where, evidence, marked):
            kinds.append(PICKLE)
        if kinds and zipfile.is_zipfile(file):
            kinds.append(OTHER_ZIP)
    if len(kinds) > 1:
        evidence.add(Verdict.MALFORMED, where, f"is a {' and a '.join(kinds)} at once")
    nested, evidence.nested = evidence.nested, []  # of this file alone, not of the one around it
    for data, place in nested:
        inspect(Memory(data), place, evidence, depth + 1)
    return kinds


def _inspect_safetensors(file: Window, where: str, evidence: Evidence) -> bool:
    try:
        read_header(file)
    except UnknownDtypeError as error:  # numbers of a kind to come, and no code all the same
        evidence.add(Verdict.PLAIN_DATA, f"{where}header", str(error))
    except MalformedHeaderError as error:
        file.seek(8)
        if file.read(2) != b'{"':
            return False
        ambiguous = isinstance(error, AmbiguousHeaderError)
        verdict = Verdict.MALFORMED if ambiguous else Verdict.DAMAGED
        evidence.add(verdict, f"{where}header", str(error))
    return True


def _inspect_zip(file: Window, where: str, evidence: Evidence, depth: int) -> str:
    try:
        records = read_directory(file)
    except ForeignZipError as error:
        evidence.no_checkpoint(where, f"is a zip file that torch cannot read: {error}")
        return OTHER_ZIP
    except MalformedZipError as error:
        archives = zip_row.split(file) if depth < DEEPEST else []
        for number, archive in enumerate(archives):
            inspect(archive, f"{where}archive {number}: ", evidence, depth + 1)
        if archives:
            evidence.no_checkpoint(where, f"is {zip_row.WHAT}")
        else:
            evidence.add(Verdict.DAMAGED, where, f"is no archive to rely on: {error}")
        return OTHER_ZIP
    end = end_of_archive(file)
    tail = file.part(end, file.size - end)
    if tail.size and inspect_pickles(tail, f"{where}after its end: ", evidence):
        evidence.add(Verdict.MALFORMED, where, "is a zip file and a pickle at once")
    prefix, parts, together = without_folder(records)
    kind = zip_kind(parts)
    if kind == OTHER_ZIP:
        _inspect_other_zip(file, {r.name: r for r in records}, where, evidence, depth)
        return kind
    flat = any(record.name == OLD_GRAPH for record in records)
    if not flat and not together:
        evidence.add(Verdict.MALFORMED, where, f"holds records outside of {prefix or 'a folder'}")
    if kind == SCRIPT:  # not pickle's, but TorchScript's own interpreter runs it
        evidence.add(
            Verdict.WOULD_RUN_CODE,
            where,
            "is a TorchScript program: torch.jit.load runs what its classes do when restored, "
            "and such code can read and write files",
        )
        return kind
    for name, record in parts.items():
        _inspect_record(file, name, record, kind, where, evidence, depth)
    if kind == CHECKPOINT:
        _inspect_checkpoint(file, parts, where, evidence)
    elif kind in (PROGRAM, COMPILED):
        _inspect_program(file, parts, kind, where, evidence)
    return kind


def _inspect_other_zip(
    file: Window, parts: dict[str, Record], where: str, evidence: Evidence, depth: int
) -> None:
    """Look for code in an archive that torch would not load; nothing else in it is our business."""
    inside = Evidence()
    for name, record in parts.items():
        _inspect_record(file, name, record, OTHER_ZIP, where, inside, depth)
    evidence.code_of(inside)
    if not where:
        evidence.no_checkpoint(where, f"is {why_no_checkpoint(parts)}")


def _inspect_record(
    file: Window, name: str, record: Record, kind: str, where: str, evidence: Evidence, depth: int
) -> None:
    """Look at one record, if anything would unpickle it."""
    place = f"{where}{name}"
    if kind == CHECKPOINT and (name == "data.pkl" or name.startswith("data/")):
        return  # looked at with the others; tensors are numbers, whatever they look like
    start = (_content(file, record, 4) or Memory(b"")).everything()
    named = name.lower().endswith(PICKLES)
    if not (named or start == ZIP or start[:1] == b"\x80"):
        return
    content = _content(file, record)
    if content is None:
        _unpacks_badly(record, place, evidence)
    elif start == ZIP:
        inspect(content, f"{place}: ", evidence, depth + 1)
    elif named or scan_next(content).problem is None:  # else weights that begin like a pickle
        content.seek(0)
        evidence.pickle(content, place)


def _inspect_checkpoint(
    file: Window, parts: dict[str, Record], where: str, evidence: Evidence
) -> None:
    place = f"{where}data.pkl"
    data = _content(file, parts["data.pkl"])
    if data is None or data.size > LARGEST_PICKLE:
        _unpacks_badly(parts["data.pkl"], place, evidence)
        return
    data = Memory(data.everything())
    checksums = any(record.crc32 for record in parts.values() if record.size)
    if checksums and crc32(data.everything()) != parts["data.pkl"].crc32:
        evidence.add(Verdict.DAMAGED, place, "does not match its checksum")
    _compare_storages(evidence.pickle(data, place), parts, place, evidence)


def _unpacks_badly(record: Record, place: str, evidence: Evidence) -> None:
    if record.size > LARGEST_PART:
        unread = f"has {record.size:,} bytes, which are not read and may run code"
        evidence.no_checkpoint(place, unread)
    else:
        evidence.add(Verdict.DAMAGED, place, "does not unpack to the size it says")


def _compare_storages(
    content: Pickle, parts: dict[str, Record], place: str, evidence: Evidence
) -> None:
    for reference in content.persistent:
        try:
            storage = storage_of(reference)
        except ValueError as error:
            evidence.add(Verdict.MALFORMED, place, str(error))
            continue
        record = parts.get(f"data/{storage.key}")
        size = record.size if record and len(reference.value) == 5 else -1
        if size > storage.nbytes:
            said = f"data/{storage.key[:60]} has {storage.nbytes:,} bytes, not {size:,}"
            evidence.add(Verdict.MALFORMED, place, f"says that {said}")
        elif size < storage.nbytes:
            evidence.add(
                Verdict.DAMAGED,
                place,
                f"needs {storage.nbytes:,} bytes in data/{storage.key[:60]}, which the file "
                f"does not have there",
            )


def _inspect_program(
    file: Window, parts: dict[str, Record], kind: str, where: str, evidence: Evidence
) -> None:
    article = "an" if kind == PROGRAM else "a"
    evidence.add(Verdict.NEEDS_GLOBALS, where, f"is {article} {kind}: it calls torch's operators")
    for name, record in parts.items():
        place = f"{where}{name}"
        if name.lower().endswith(NATIVE):
            evidence.add(Verdict.WOULD_RUN_CODE, place, "is a native library, which is loaded")
        if not name.endswith(".json"):
            continue
        data = _content(file, record)
        try:
            problems = program_problems(data.everything() if data else b"")
            for problem in problems:
                evidence.add(Verdict.WOULD_RUN_CODE, place, problem)
        except (ValueError, RecursionError):
            evidence.add(Verdict.MALFORMED, place, "is not JSON")


def _content(file: Window, record: Record, first: int | None = None) -> Window | None:
    """Return a record, or its first bytes, as a file; None if it lies about its size.

    What is compressed is unpacked in memory, and never beyond `LARGEST_PART`.
    """
    if not record.compressed:
        return file.part(record.offset, record.size if first is None else min(first, record.size))
    if first is None and record.size > LARGEST_PART:
        return None
    packed = file.part(record.offset, min(record.stored, LARGEST_PART)).everything()
    try:
        unpacker = zlib.decompressobj(-zlib.MAX_WBITS)
        data = unpacker.decompress(packed, record.size + 1 if first is None else first)
    except zlib.error:
        return None
    return Memory(data) if first is not None or len(data) == record.size else None

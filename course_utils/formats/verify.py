"""Is a file what was written? The one verifier, for loading, ``ckpt verify`` and ``ckpt doctor``.

Every byte of a file by ``torch.save`` is accounted for: data by its CRC-32, all else by comparing
it with what torch writes around such records. Formats without checksums are said to be just that.
"""

from collections.abc import Callable, Iterable, Iterator
from enum import Enum
from typing import NamedTuple

from course_utils.errors import DamagedRecordError
from course_utils.formats.checksum import crc32, is_unchecked, problem_of
from course_utils.formats.contents import CHECKPOINT, COMMIT_RECORD, LEGACY, Contents, unpack
from course_utils.formats.torch_layout import follows_layout
from course_utils.formats.zip import Record, end_of_archive

VERSIONS = {str(number).encode() for number in range(1, 11)}  # of the format, that torch 2.14 reads
UNWRITTEN = (
    "it has no checksum and holds only zeros, as do all others without one: torch.save leaves that "
    "under skip_data, until someone writes the numbers"
)
BLOCK = 2 << 20  # bytes of a record in memory at a time


class Severity(Enum):
    """How bad a finding is. Only errors and warnings count as a problem of the file."""

    ERROR = "error"
    WARNING = "warning"
    NOTE = "note"


class Verdict(Enum):
    """What is known of a file's bytes."""

    SOUND = "sound"
    UNVERIFIABLE = "readable, not verifiable"
    DAMAGED = "damaged"


class Finding(NamedTuple):
    """What is wrong with a part of a file.

    Attributes:
        severity: errors are damage, and `load_checkpoint` refuses the file for it.
        record: the part's name, None for the directory of an archive.
        problem: what is wrong.
    """

    severity: Severity
    record: str | None
    problem: str


class Verification(NamedTuple):
    """What verifying has shown.

    Attributes:
        findings: what is wrong, or cannot be known.
        checked: records whose bytes were compared with a checksum.
    """

    findings: tuple[Finding, ...]
    checked: int

    @property
    def damage(self) -> list[Finding]:
        """The findings for which a file is refused."""
        return [finding for finding in self.findings if finding.severity is Severity.ERROR]

    @property
    def verdict(self) -> Verdict:
        """The findings in a word."""
        if self.damage:
            return Verdict.DAMAGED
        unknown = any(finding.severity is Severity.NOTE for finding in self.findings)
        return Verdict.UNVERIFIABLE if unknown else Verdict.SOUND


Checksum = int | OSError  # of a record's bytes, or why they could not be read
Checksums = Callable[[Iterable[Record]], Iterator[Checksum]]


def verify(contents: Contents, checksums: Checksums | None = None) -> Verification:
    """Compare each record with its CRC-32, and all that is not data with torch's layout.

    Args:
        contents: what `formats.open` found in the file.
        checksums: yields the CRC-32 of records in the order given; by default they are read one
            after the other.
    """
    if contents.files:
        return together(contents, [verify(file) for file in contents.files])
    if not contents.records or not contents.checksums:
        kind = "file saved without them" if contents.kind == CHECKPOINT else contents.kind
        reason = f"a {kind} has no checksums: its structure was checked, its bytes cannot be"
        layout = []
        if contents.kind == CHECKPOINT:
            layout = [*_absent(contents), *_layout(contents)]
        layout += _rest(contents)
        return Verification((*layout, Finding(Severity.NOTE, None, reason)), 0)
    stored = [record for record in contents.records.values() if not record.compressed]
    findings = []
    skipped = {}
    for record, found in zip(stored, (checksums or _one_by_one(contents))(stored), strict=True):
        findings += _compared(record, found)
        if is_unchecked(record):
            skipped[record] = found
    for record in contents.records.values():
        if record.compressed:
            findings += _unpacked(contents, record)
    if contents.kind == CHECKPOINT:
        findings += _absent(contents)
    if not findings and contents.kind != COMMIT_RECORD:
        findings = [*_layout(contents), *_rest(contents)]
    return Verification((*findings, *_skipped(skipped)), len(contents.records) - len(skipped))


def rest_of(contents: Contents) -> str | None:
    """Say how many bytes follow what was read, in a file in which none should; None if none do."""
    if contents.kind == LEGACY:
        ends = [record.offset + record.size for record in contents.records.values()]
        end, what = max(ends, default=0), "last tensor: perhaps more that was saved, not read here"
    elif contents.kind == CHECKPOINT:
        end = end_of_archive(contents.source)
        what = "end of the archive, which nothing reads and checks"
    else:
        return None
    count = contents.source.size - end
    return f"{count:,} bytes follow the {what}" if end and count else None


def together(folder: Contents, results: Iterable[Verification]) -> Verification:
    """Return what verifying the files of a folder has shown, as one result.

    Args:
        folder: the whole.
        results: one for each of its files.
    """
    findings = [Finding(Severity.WARNING, None, oddity) for oddity in folder.oddities]
    unknown: dict[str, int] = {}
    checked = 0
    for file, result in zip(folder.files, results, strict=True):
        checked += result.checked
        name = "" if file.kind == COMMIT_RECORD else file.path.relative_to(folder.path)
        for severity, record, problem in result.findings:
            if severity is Severity.NOTE:
                unknown[problem] = unknown.get(problem, 0) + 1
            else:
                place = ": ".join(filter(None, (str(name or ""), record)))
                findings.append(Finding(severity, place, problem))
    for problem, count in unknown.items():
        findings.append(Finding(Severity.NOTE, None, f"{count:,} of its files: {problem}"))
    return Verification(tuple(findings), checked)


def _compared(record: Record, found: Checksum) -> list[Finding]:
    problem = (
        f"the disk cannot read it ({found})"
        if isinstance(found, OSError)
        else problem_of(record, found)
    )
    return [Finding(Severity.ERROR, record.name, problem)] if problem else []


def _unpacked(contents: Contents, record: Record) -> list[Finding]:
    try:
        return _compared(record, crc32(unpack(contents.source, record)))
    except (ValueError, OSError) as error:
        return [Finding(Severity.ERROR, record.name, str(error))]


def _absent(contents: Contents) -> Iterator[Finding]:
    """Look for what torch needs beside the records that are there; no checksum tells of that."""
    if _version(contents) is None:
        said = "record version is missing: torch.load reads nothing without it"
        yield Finding(Severity.WARNING, "version", said)
    needed = {info.record: info.storage_nbytes for info in contents.tensors.values()}
    for name, size in needed.items():
        record = contents.records.get(name) if name else None
        if name and record is None:
            yield Finding(Severity.ERROR, name, "it is missing, and tensors lie in it")
        elif record and record.size != size:
            how = Severity.ERROR if record.size < size else Severity.WARNING
            said = f"{name} has {record.size:,} bytes, and {size:,} by the pickle"
            yield Finding(how, name, said)


def _skipped(found: dict[Record, Checksum]) -> Iterator[Finding]:
    """Say what is known of storages without a checksum: that nothing was written, or nothing."""
    if not found:
        return
    said = f"{len(found):,} of its storages have no checksum: their bytes cannot be checked"
    yield Finding(Severity.NOTE, None, said)
    if all(crc == _crc_of_zeros(record.size) for record, crc in found.items()):
        yield Finding(Severity.WARNING, next(iter(found)).name, UNWRITTEN)


def _crc_of_zeros(size: int) -> int:
    total = 0
    for start in range(0, size, BLOCK):
        total = crc32(bytes(min(BLOCK, size - start)), total)
    return total


def _version(contents: Contents) -> Record | None:
    return contents.records.get(".data/version") or contents.records.get("version")


def _layout(contents: Contents) -> Iterator[Finding]:
    """Compare what no CRC-32 covers; where another program laid the file out, that cannot be."""
    record = _version(contents) if contents.kind == CHECKPOINT else None
    version = contents.content(record).read_at(0, 20).strip() if record else b"1"
    if version not in VERSIONS:
        said = f"the format's version is {version!r}, and torch reads 1 to 10"
        yield Finding(Severity.WARNING, "version", said)
    if any(record.compressed for record in contents.records.values()):
        return
    records = list(contents.records.values())
    try:
        record = contents.records.get(".storage_alignment")
        alignment = contents.content(record).read_at(0, 8) if record else None
        follows_layout(contents.source, records, alignment)
    except DamagedRecordError as error:
        yield Finding(Severity.ERROR, error.record, error.reason)
    except OSError as error:
        yield Finding(Severity.ERROR, None, f"the disk cannot read it ({error})")


def _rest(contents: Contents) -> Iterator[Finding]:
    if rest := rest_of(contents):
        yield Finding(Severity.NOTE, None, rest)


def _one_by_one(contents: Contents) -> Checksums:
    def checksums(records: Iterable[Record]) -> Iterator[Checksum]:
        for record in records:
            total = 0
            try:
                for start in range(record.offset, record.offset + record.size, BLOCK):
                    count = min(BLOCK, record.offset + record.size - start)
                    total = crc32(contents.source.read_at(start, count), total)
            except OSError as error:
                yield error
            else:
                yield total

    return checksums

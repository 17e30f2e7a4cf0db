"""What is wrong with a checkpoint, why it matters, and what to do about it."""

import os
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from course_utils.errors import UnsupportedCheckpointError
from course_utils.files.contents import open_contents, verify_contents
from course_utils.formats.contents import Contents
from course_utils.formats.dtypes import is_complex, is_float
from course_utils.formats.elements import blocks
from course_utils.formats.judge import Verdict
from course_utils.formats.open import require_tensors
from course_utils.formats.tensors import TensorInfo
from course_utils.formats.values import plain_values
from course_utils.partial.names import WRAPPERS
from course_utils.safety.audit import audit
from course_utils.tables import Table

WASTE = 4096  # bytes that no tensor shows, below which nobody need care
SMALL = 1024  # bytes of a record, below which equal checksums may be chance: all zeros, say


@dataclass(frozen=True)
class Complaint:
    """One finding.

    Attributes:
        topic: one word or two, for scripts: "damage", "prefix", "slice", "copy", …
        what: what was found, with names.
        remedy: what to do.
    """

    topic: str
    what: str
    remedy: str


def examine(path: str | os.PathLike[str]) -> list[Complaint]:
    """Look for what commonly goes wrong with checkpoints; reads every tensor, block by block.

    Raises:
        CheckpointError: the file is missing, or damaged so that its directory cannot be read.
    """
    path = Path(path)
    try:
        archive = require_tensors(open_contents(path))
    except UnsupportedCheckpointError as error:
        return [Complaint("format", str(error), "see `audit` before you load it anywhere")]
    damage = list(_damage(archive))
    checks = (_unsafe, _prefixes, _slices, _copies, _dtypes, _devices, _not_finite, _incomplete)
    return [*damage, *(complaint for check in checks for complaint in check(archive))]


def complaints_table(complaints: list[Complaint]) -> Table:
    """Return complaints as a table."""
    return Table([(c.topic, c.what, c.remedy) for c in complaints], ["topic", "found", "remedy"])


def _damage(archive: Contents) -> Iterator[Complaint]:
    for _, record, problem in verify_contents(archive).damage:
        where = f"record {record}" if record else "the directory"
        yield Complaint("damage", f"{where}: {problem}", "use an earlier checkpoint")


def _unsafe(archive: Contents) -> Iterator[Complaint]:
    found = audit(archive.path)
    if found.verdict is not Verdict.PLAIN_DATA:
        reasons = "; ".join(finding.reason for finding in found.findings[:3])
        yield Complaint(
            "safety",
            f"{found.verdict.value}: {reasons}",
            "load it only if you trust it; save state_dicts and plain values instead of objects",
        )


def _prefixes(archive: Contents) -> Iterator[Complaint]:
    counts: Counter[str] = Counter()
    for name in archive.tensors:
        counts.update(WRAPPERS.intersection(name.split(".")[:-1]))
    for wrapper, count in counts.items():
        yield Complaint(
            "prefix",
            f"{count} keys hold '{wrapper}.', which a wrapper added",
            "`ckpt strip-prefix`, or save the state_dict of the module inside the wrapper",
        )


def _slices(archive: Contents) -> Iterator[Complaint]:
    """Storages of which the tensors show only a part: saving a slice saves the whole."""
    shown: dict[str, int] = defaultdict(int)
    owners: dict[str, TensorInfo] = {}
    for info in archive.tensors.values():
        if info.record is not None:
            shown[info.record] += min(info.nbytes, info.storage_nbytes)
            owners.setdefault(info.record, info)
    for record, info in owners.items():
        waste = info.storage_nbytes - shown[record]
        if waste > WASTE:
            yield Complaint(
                "slice",
                f"{info.name} shows {shown[record]:,} of the {info.storage_nbytes:,} bytes that "
                "are saved for it",
                "`ckpt slim`, or save a .clone() of it",
            )


def _copies(archive: Contents) -> Iterator[Complaint]:
    """State_dicts that are one memory under two names, and records stored twice."""
    owners: dict[str, list[str]] = defaultdict(list)
    for info in archive.tensors.values():
        if info.record is not None:
            owners[info.record].append(info.name)
    pairs: Counter[tuple[str, str]] = Counter()
    for first, *rest in owners.values():
        for other in rest:
            one, two = _parents(first, other)
            pairs[one, two] += bool(one and two)
    for (one, two), count in pairs.items():
        if count:
            yield Complaint(
                "live reference",
                f"'{one}' and '{two}' share the memory of {count} tensors: one is not a copy",
                "if one should be the best so far, clone its tensors when you keep it",
            )
    equal: dict[tuple[int, int], list[str]] = defaultdict(list)
    for record in owners:
        stored = archive.records.get(record)
        if stored is not None and stored.crc32 and stored.size >= SMALL:
            equal[stored.size, stored.crc32].append(owners[record][0])
    twice = [names for names in equal.values() if len(names) > 1]
    if twice:
        shown = ", ".join(" = ".join(names[:3]) for names in twice[:3])
        yield Complaint(
            "stored twice", f"equal bytes in {len(twice)} places: {shown}", "keep one if you can"
        )


def _parents(first: str, other: str) -> tuple[str, str]:
    """Cut the common end of two paths off; ('', '') unless they end in the same two parts."""
    one, two = first.split("."), other.split(".")
    common = 0
    while common < min(len(one), len(two)) and one[-1 - common] == two[-1 - common]:
        common += 1
    if not common:
        return "", ""
    return ".".join(one[:-common]), ".".join(two[:-common])


def _dtypes(archive: Contents) -> Iterator[Complaint]:
    """Floating dtypes within one state_dict; an optimizer's may differ from its model's."""
    groups: dict[str, dict[str, str]] = defaultdict(dict)
    for info in archive.tensors.values():
        if is_float(info.dtype):
            groups[info.name.split(".")[0]].setdefault(info.dtype, info.name)
    nested = _top_level(archive)
    if not nested:  # a bare state_dict: its first parts are modules of one model
        merged: dict[str, str] = {}
        for found in groups.values():
            merged = {**found, **merged}
        groups = defaultdict(dict, {"": merged})
    for group, found in groups.items():
        if len(found) > 1:
            examples = ", ".join(f"{dtype} ({name})" for dtype, name in found.items())
            yield Complaint(
                "dtypes",
                f"{group or 'the state_dict'} mixes {examples}",
                "fine if meant; else convert before saving, and mind assign=True, which keeps "
                "the file's dtypes",
            )


def _devices(archive: Contents) -> Iterator[Complaint]:
    devices = {info.device for info in archive.tensors.values()}
    for device in sorted(devices - {"cpu", "meta"}):
        yield Complaint(
            "device",
            f"saved on {device}: loading needs that device",
            'load with map_location="cpu"',
        )
    if "meta" in devices:
        name = next(info.name for info in archive.tensors.values() if info.device == "meta")
        yield Complaint("device", f"{name} has no values (meta device)", "materialize, then save")


def _not_finite(archive: Contents) -> Iterator[Complaint]:
    for info in archive.tensors.values():
        if info.record is None or not (is_float(info.dtype) or is_complex(info.dtype)):
            continue
        nan = infinite = 0
        for block in blocks(archive, info.name):
            values = torch.frombuffer(bytearray(block), dtype=getattr(torch, info.dtype))
            values = values if values.itemsize > 1 else values.float()
            nan += int(values.isnan().sum())
            infinite += int(values.isinf().sum())
        if nan or infinite:
            yield Complaint(
                "not finite",
                f"{info.name} holds {nan:,} NaN and {infinite:,} infinite values",
                "training had diverged; go back to an earlier checkpoint",
            )


def _incomplete(archive: Contents) -> Iterator[Complaint]:
    """What a training run would miss when it resumes from this file."""
    keys = _top_level(archive)
    if not keys:
        yield Complaint(
            "resume",
            "it is a bare state_dict: enough to use the model, not to resume training",
            "to resume, save optimizer, scheduler, random numbers and position too",
        )
        return
    for topic, words, remedy in _PARTS:
        if not any(word in key.lower() for key in keys for word in words):
            yield Complaint("resume", f"there seems to be no {topic} in it", remedy)


def _top_level(archive: Contents) -> list[str]:
    """The keys of a checkpoint that holds state_dicts; empty for a bare state_dict."""
    tree: Any = archive.tree
    if not isinstance(tree, dict) or not any(isinstance(value, dict) for value in tree.values()):
        return []
    inner = [*archive.tensors, *plain_values(archive)[0]]
    return [*map(str, tree), *(name.rpartition(".")[2] for name in inner)]


_PARTS = (
    ("optimizer", ("optim",), "without it momentum starts from zero; save its state_dict"),
    ("scheduler", ("sched",), "without it the learning rate restarts; save its state_dict"),
    ("random number state", ("rng", "random", "seed"), "without it dropout and shuffling differ"),
    ("step or epoch", ("step", "epoch", "iteration"), "save where the run stood"),
)

"""Compare our reading of files that others made with torch's, safetensors' and zipfile's.

    python -m course_utils.authoring.census [--folder FOLDER]

Nothing is unpickled but by ``torch.load(weights_only=True)``. Prints how many files were read
rightly, how many were refused by name although torch reads them, and how many wrongly; then every
disagreement. Sources of other tools' tests come from PyPI; nothing is searched for its weights.
"""

import argparse
import hashlib
import pickletools
import sys
import tempfile
import warnings
import zipfile
from collections import Counter
from collections.abc import Iterator
from datetime import date
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, NamedTuple

import torch

from course_utils.anatomy.read import read_tensor
from course_utils.authoring.census_writers import shipped, tests_of_tools, written
from course_utils.errors import (
    CheckpointError,
    DamagedCheckpointError,
    NotACheckpointError,
)
from course_utils.files.contents import open_contents, verify_contents
from course_utils.formats.contents import Contents
from course_utils.formats.judge import Verdict
from course_utils.safety.audit import audit

RIGHT, REFUSED, WRONG = "read rightly", "refused by name though torch reads it", "wrong"
NOT_TORCH = "torch does not read it, and nothing false is said of it"  # counts as right
FILES, SHAPES, REFUSALS = 2000, 400, 0.02  # what a census must reach


class Result(NamedTuple):
    """What comparing one file gave."""

    writer: str
    path: Path
    outcome: str
    remark: str
    shape: str


def main() -> int:
    """Take the census; the exit status is 1 if a file was read wrongly."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, help="keep the files here")
    given = parser.parse_args().folder
    warnings.simplefilter("ignore")
    with tempfile.TemporaryDirectory() as temporary:
        folder = given or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        results = [
            _compared(writer, path, sound=collect is not tests_of_tools)
            for collect in (shipped, written, tests_of_tools)
            for writer, path in collect(folder)
        ]
    _print(results)
    return int(any(result.outcome == WRONG for result in results))


def _print(results: list[Result]) -> None:
    outcomes, writers = Counter(r.outcome for r in results), Counter(r.writer for r in results)
    total, shapes = len(results), len({r.shape for r in results})
    print(f"{date.today()}, torch {torch.__version__}, {', '.join(_versions(writers))}")
    print(f"{total:,} files of {len(writers)} writers, {shapes:,} shapes")
    for name in (RIGHT, REFUSED, WRONG):
        print(f"{outcomes[name]:>6,}  {name}")
    others = sum(result.remark == NOT_TORCH for result in results)
    print(f"of those read rightly, {others:,} are none for torch: {NOT_TORCH}")
    print("files: " + ", ".join(f"{name} {count}" for name, count in writers.most_common()))
    (largest, count), *_ = writers.most_common(1)
    for short, text in (
        (total < FILES, f"fewer than {FILES:,} files"),
        (shapes < SHAPES, f"fewer than {SHAPES} shapes"),
        (count > total / 10, f"more than a tenth are of {largest}"),
        (outcomes[REFUSED] > total * REFUSALS, f"more than {REFUSALS:.0%} refused"),
    ):
        if short:
            print(f"not reached: {text}")
    for writer, path, outcome, remark, _ in results:
        if outcome != RIGHT:
            print(f"{outcome}: {writer}: {path.name}: {remark}")


def _versions(writers: Counter[str]) -> Iterator[str]:
    for name in sorted(writers):
        try:
            yield f"{name} {version(name)}"
        except PackageNotFoundError:
            yield name


def _compared(writer: str, path: Path, *, sound: bool) -> Result:
    """Compare one file; what a library has just written, or ships, is sound."""
    contents, problem = None, ""
    try:
        contents = open_contents(path)
        damage = verify_contents(contents).damage if contents.is_described else []
        error: Exception | None = None
        if damage:
            error = DamagedCheckpointError(damage[0].problem)
    except CheckpointError as raised:
        error = raised
    except Exception as raised:  # must not be
        error, problem = raised, f"crash: {raised!r}"
    outcome, remark = WRONG, problem
    if not problem:
        outcome, remark = _judged(path, contents, error)
    if outcome == RIGHT and sound:
        found = audit(path)
        if found.verdict in (Verdict.MALFORMED, Verdict.DAMAGED):
            reason = found.findings[0].reason
            outcome, remark = WRONG, f"audit calls it {found.verdict.value}: {reason}"
    return Result(writer, path, outcome, remark, _shape(path, contents))


def _judged(path: Path, contents: Contents | None, error: Exception | None) -> tuple[str, str]:
    state, unsafe = _loaded(path)
    verdict = audit(path).verdict
    if unsafe and verdict is Verdict.PLAIN_DATA:
        return WRONG, f"called plain data, and torch refuses it: {unsafe}"
    if state is None:
        if isinstance(error, DamagedCheckpointError) and _zipfile_reads(path):
            return WRONG, f"called damaged, and zipfile reads it: {error}"
        return RIGHT, NOT_TORCH
    if isinstance(error, DamagedCheckpointError):
        return WRONG, f"called damaged, and torch reads it: {error}"
    if error is not None or contents is None or not contents.is_described:
        named = not isinstance(error, NotACheckpointError)
        return REFUSED if named else WRONG, str(error or f"is a {contents and contents.kind}")
    return _same(contents, state[0])


def _loaded(path: Path) -> tuple[tuple[Any] | None, str]:
    """Return what safetensors or torch reads, in a tuple; and why torch's safe loader refuses."""
    if path.suffix == ".safetensors":
        from safetensors.torch import load_file

        try:
            return (load_file(path),), ""
        except Exception:
            return None, ""
    try:
        return (torch.load(path, map_location="cpu", weights_only=True),), ""
    except Exception as error:
        text = str(error)
        unsafe = "Unsupported global" in text or "not an allowed global" in text
        return None, text.splitlines()[-1][:80] if unsafe else ""


def _same(contents: Contents, state: Any) -> tuple[str, str]:
    tensors = dict(_tensors(state))
    for name, value in tensors.items():
        info = contents.tensors.get(name)
        if info is None:
            if name in contents.others:
                continue
            return WRONG, f"tensor {name} is neither read nor named"
        if value.is_quantized:
            continue
        found = read_tensor(contents, info, verify=True)
        if found.dtype != value.dtype or found.shape != value.shape or not _equal(found, value):
            return WRONG, f"tensor {name} reads differently"
    return RIGHT, ""


def _equal(one: torch.Tensor, two: torch.Tensor) -> bool:
    if one.is_meta or two.is_meta:
        return one.is_meta == two.is_meta
    pair = [t.detach().resolve_conj().resolve_neg().contiguous().flatten() for t in (one, two)]
    first, second = (t.view(torch.uint8) if t.numel() else t for t in pair)
    return torch.equal(first, second)


def _tensors(state: Any, path: str = "") -> Iterator[tuple[str, torch.Tensor]]:
    if isinstance(state, torch.Tensor):
        yield path, state
    elif isinstance(state, dict | list | tuple):
        for key, value in state.items() if isinstance(state, dict) else enumerate(state):
            yield from _tensors(value, f"{path}.{key}" if path else str(key))


def _zipfile_reads(path: Path) -> bool:
    try:
        with zipfile.ZipFile(path) as file:
            return file.testzip() is None
    except Exception:
        return False


def _shape(path: Path, contents: Contents | None) -> str:
    """Return what makes files alike: container, instructions, imports, dtypes, layout."""
    with open(path, "rb") as file:
        start = file.read(1 << 16)
    parts: list[Any] = [start[:4] if start[:1] != b"\x80" else start[:2]]
    if contents is not None:
        infos = contents.tensors.values()
        parts += [contents.kind, sorted(contents.globals), sorted({i.dtype for i in infos})]
        parts += [
            sorted({(len(i.shape), i.stride[-1:] == (1,), i.storage_offset > 0) for i in infos})
        ]
        parts += [sorted({r.compressed for r in contents.records.values()})]
    parts.append(_instructions(contents.pickle if contents and contents.pickle else start))
    return hashlib.sha256(repr(parts).encode()).hexdigest()


def _instructions(data: bytes) -> list[str]:
    found = set()
    try:
        for opcode, argument, _ in pickletools.genops(data):
            found.add(f"{opcode.name} {argument}" if opcode.name == "GLOBAL" else opcode.name)
    except Exception:
        return sorted(found)[:50]
    return sorted(found)


if __name__ == "__main__":
    sys.exit(main())

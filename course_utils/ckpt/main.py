"""The checkpoint doctor's command line, ``ckpt`` or ``python -m course_utils``.

Exit status: 0 all is well, 1 the file has a problem or the two files differ, 2 not possible.
No command runs code from the file.
"""

import argparse
import json
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, TextIO

from rich.console import Console

from course_utils.ckpt.diff import diff
from course_utils.ckpt.doctor import complaints_table, examine
from course_utils.ckpt.key_tree import key_tree, shared_with
from course_utils.ckpt.slim import slim
from course_utils.ckpt.strip_prefix import strip_prefix
from course_utils.errors import CheckpointError, CheckpointWriteError, MissingCheckpointError
from course_utils.files.contents import damaged_records, open_contents
from course_utils.formats.judge import Verdict
from course_utils.formats.open import require_tensors
from course_utils.formats.values import plain_values
from course_utils.safety.audit import audit
from course_utils.safety.convert import convert
from course_utils.tables import Table

FINE, PROBLEM, IMPOSSIBLE = 0, 1, 2


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status.

    Args:
        arguments: as on the command line, without the program's name; None takes them from there.
    """
    options = _parser().parse_args(arguments)
    try:
        report = options.run(options)
    except (MissingCheckpointError, CheckpointWriteError) as error:
        return _failed(error, IMPOSSIBLE, options)
    except CheckpointError as error:
        return _failed(error, PROBLEM, options)
    except OSError as error:
        return _failed(error, IMPOSSIBLE, options)
    try:
        _show(report, options)
        sys.stdout.flush()
    except BrokenPipeError:  # the reader, `head` for example, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return FINE if report.fine else PROBLEM


@dataclass
class _Report:
    """What a command has to say: a headline, details, and the same for ``--json``."""

    fine: bool
    headline: str
    details: Table | None
    data: Any


def _inspect(options: argparse.Namespace) -> _Report:
    archive = require_tensors(open_contents(options.file))
    shared = shared_with(archive)
    tensors = [
        {
            "name": info.name,
            "shape": list(info.shape),
            "dtype": info.dtype,
            "bytes": info.nbytes,
            "device": info.device,
            "stride": list(info.stride),
            "requires_grad": info.requires_grad,
            "shared_with": shared.get(info.name),
        }
        for info in archive.tensors.values()
    ]
    total = sum(info.nbytes for info in archive.tensors.values())
    size = archive.source.size
    return _Report(
        True,
        f"{options.file}: {len(tensors):,} tensors of {total:,} bytes in a file of {size:,} bytes",
        key_tree(archive),
        {
            "file": options.file,
            "bytes": size,
            "tensors": tensors,
            "values": plain_values(archive)[0],
        },
    )


def _verify(options: argparse.Namespace) -> _Report:
    damaged = damaged_records(options.file)
    owners: dict[str, list[str]] = {}
    if damaged and "data.pkl" not in damaged:
        for info in open_contents(options.file).tensors.values():
            owners.setdefault(info.record or "", []).append(info.name)
    rows = [(name, ", ".join(owners.get(name, [])), why) for name, why in damaged.items()]
    return _Report(
        not damaged,
        f"{options.file}: {len(damaged)} damaged records" if damaged else f"{options.file}: whole",
        Table(rows, ["record", "tensors", "problem"]) if rows else None,
        {
            "file": options.file,
            "damaged": [{"record": r, "tensors": owners.get(r, []), "why": w} for r, _, w in rows],
        },
    )


def _audit(options: argparse.Namespace) -> _Report:
    found = audit(options.file)
    return _Report(
        found.verdict is Verdict.PLAIN_DATA,
        f"{options.file}: {found.verdict.value} ({found.format})",
        found.table if found.findings else None,
        found.as_dict(),
    )


def _diff(options: argparse.Namespace) -> _Report:
    found = diff(options.file, options.other)
    return _Report(
        found.same,
        found.headline,
        found.table if found.changes else None,
        [asdict(change) for change in found.changes],
    )


def _doctor(options: argparse.Namespace) -> _Report:
    complaints = examine(options.file)
    return _Report(
        not complaints,
        f"{options.file}: {len(complaints)} findings" if complaints else f"{options.file}: healthy",
        complaints_table(complaints) if complaints else None,
        [asdict(complaint) for complaint in complaints],
    )


def _convert(options: argparse.Namespace) -> _Report:
    done = convert(options.file, options.out)
    return _Report(True, str(done), None, {**asdict(done), "path": str(done.path)})


def _strip_prefix(options: argparse.Namespace) -> _Report:
    renamed = strip_prefix(options.file, options.out, options.prefix).renamed
    table = Table(renamed.items(), ["was", "is"])
    return _Report(True, f"{options.out}: {len(renamed)} keys renamed", table, renamed)


def _slim(options: argparse.Namespace) -> _Report:
    done = slim(options.file, options.out)
    before, after = done.before, done.after
    headline = f"{options.out}: {after:,} bytes instead of {before:,}"
    return _Report(True, headline, None, {"before": before, "after": after})


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="ckpt", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def add(name: str, run: Callable[[argparse.Namespace], _Report], text: str, *more: str) -> Any:
        command = commands.add_parser(name, help=text, description=text)
        for argument in ("file", *more):
            command.add_argument(argument)
        command.add_argument("--json", action="store_true", help="print JSON")
        command.set_defaults(run=run)
        return command

    add("inspect", _inspect, "show keys, shapes, dtypes, bytes, devices and shared memory")
    add("verify", _verify, "compare every record with its checksum")
    add("audit", _audit, "say what loading the file would import and call")
    add("diff", _diff, "show which tensors differ, and by how much", "other")
    add("doctor", _doctor, "find what commonly goes wrong, and say what to do")
    add("convert", _convert, "write a safetensors file", "out")
    strip = add("strip-prefix", _strip_prefix, "write a copy without a prefix in its keys", "out")
    strip.add_argument("--prefix", help="default: what wrappers add, such as module.")
    add("slim", _slim, "write a copy without bytes that no tensor shows", "out")
    return parser


def _show(report: _Report, options: argparse.Namespace) -> None:
    if options.json:
        print(json.dumps(report.data, indent=1))
        return
    console = _console(sys.stdout)
    console.print(_printable(report.headline), style="bold green" if report.fine else "bold red")
    if report.details is not None:
        console.print(_printable(str(report.details)))


def _failed(error: Exception, status: int, options: argparse.Namespace) -> int:
    if options.json:
        print(json.dumps({"error": type(error).__name__, "message": str(error)}))
    else:
        _console(sys.stderr).print(_printable(str(error)), style="bold red")
    return status


def _console(stream: TextIO) -> Console:
    """Colours on a terminal only, even where FORCE_COLOR is set, as in notebooks."""
    terminal = stream.isatty()
    return Console(
        file=stream, force_terminal=terminal, highlight=False, markup=False, soft_wrap=True
    )


def _printable(text: str) -> str:
    """Spell out control characters: names come from the file, and terminals obey some."""
    return "".join(c if c.isprintable() or c == "\n" else repr(c)[1:-1] for c in text)

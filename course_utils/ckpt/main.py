"""The command ``ckpt``, or ``python -m course_utils``: finds the files, runs one command on each.

Exit status: 0 fine, 1 a problem was found in a file, 2 it could not be done, 130 interrupted.
No command runs code from a file, and none needs torch to start.
"""

import argparse
import gc
import os
import sys
from collections.abc import Callable, Sequence
from importlib import import_module

from course_utils.ckpt.commands import COMMANDS, parse
from course_utils.ckpt.output import Json, Text, say, silence
from course_utils.ckpt.report import (
    FINE,
    IMPOSSIBLE,
    INTERRUPTED,
    NO_CHECKPOINT,
    PROBLEM,
    Report,
    refusal,
)
from course_utils.errors import (
    CheckpointError,
    DamagedCheckpointError,
    UnsafeCheckpointError,
)

RunCommand = Callable[[argparse.Namespace], Report]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status.

    Args:
        arguments: as on the command line, without the program's name; None takes them from there.
    """
    rarely, often = 1_000_000, gc.get_threshold()
    gc.set_threshold(rarely)  # collecting garbage while a file is read takes a quarter of the time
    try:
        for stream in (sys.stdout, sys.stderr):
            if hasattr(stream, "reconfigure"):  # what the terminal's encoding lacks is spelled out
                stream.reconfigure(errors="backslashreplace")
        return _run(sys.argv[1:] if arguments is None else arguments)
    except KeyboardInterrupt:
        print("ckpt: interrupted", file=sys.stderr)
        return INTERRUPTED
    except OSError as error:
        silence()
        print(f"ckpt: the output cannot be written: {error.strerror}", file=sys.stderr)
        return IMPOSSIBLE
    finally:
        gc.set_threshold(*often)


def _run(arguments: Sequence[str]) -> int:
    try:
        options = parse(arguments)
    except SystemExit as stop:
        return int(stop.code or FINE)
    if options.command == "completion":
        from course_utils.ckpt.completion import script

        say(script(options.shell), end="")
        return FINE
    run = _guarded(options.command)
    many = "files" in COMMANDS[options.command].arguments
    return _run_on_files(run, options) if many else _run_once(run, options)


def _run_once(run: RunCommand, options: argparse.Namespace) -> int:
    """Run a command that takes its files by name: two to compare, or one to read, one to write."""
    from course_utils.ckpt.progress import reading

    with reading(getattr(options, "file", "both files")):
        report = run(options)
    output = Json(options.command) if options.json else Text(many=False)
    output.add(getattr(options, "file", ""), report)
    output.end(report.status)
    return report.status


def _run_on_files(run: RunCommand, options: argparse.Namespace) -> int:
    from course_utils.ckpt.paths import find_files

    places, many = find_files(options.files)
    output = Json(options.command) if options.json else Text(many)
    status = FINE
    for place in places:
        options.file = place.path
        report = place.report or run(options)
        if place.in_folder and report.word == NO_CHECKPOINT:
            report = report._replace(status=FINE, headline=_no_checkpoint(report))
        status = max(status, report.status)
        output.add(place.path, report)
    output.end(status)
    return status


def _no_checkpoint(report: Report) -> str:
    """Return the line on a file in a folder that changes nothing: another format has a name."""
    named = "reader" in report.data
    return f"{NO_CHECKPOINT} but {report.data['kind']}" if named else NO_CHECKPOINT


def _guarded(command: str) -> RunCommand:
    """Return the command's function, which from now on raises nothing but what stops all."""

    def run(options: argparse.Namespace) -> Report:
        try:
            module = import_module(f"course_utils.ckpt.{command.replace('-', '_')}")
            report: Report = module.report(options)
            return report
        except (DamagedCheckpointError, UnsafeCheckpointError) as error:
            return refusal(error, PROBLEM)
        except (CheckpointError, OSError) as error:
            return refusal(error, IMPOSSIBLE)
        except ImportError as error:
            return refusal(ImportError(f"`ckpt {command}` needs more: {error}"), IMPOSSIBLE)
        except MemoryError:
            return refusal(MemoryError("there is not enough memory for it"), IMPOSSIBLE)
        except Exception as error:  # a fault of ours: a traceback helps nobody who runs a command
            return refusal(_reportable(error), IMPOSSIBLE)

    return run


def _reportable(error: Exception) -> RuntimeError:
    place = error.__traceback__
    while place is not None and place.tb_next is not None:
        place = place.tb_next
    where = place.tb_frame.f_code.co_filename if place else ""
    line = place.tb_lineno if place else 0
    text = f"{type(error).__name__}: {str(error)[:200]}"
    return RuntimeError(
        f"internal error, please report it: {text} ({os.path.basename(where)}, line {line})"
    )

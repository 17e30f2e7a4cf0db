"""Prints reports: as text that fits the terminal, or as JSON that any reader takes."""

import os
import sys
from collections import Counter
from math import isfinite, isnan
from typing import Any, TextIO

from course_utils.ckpt.report import FINE, NO_CHECKPOINT, PROBLEM, Report
from course_utils.tables import printable

SCHEMA = 1  # of the JSON; docs/ckpt-json.md describes it
LARGEST = 10**4300  # Python prints no integers from here on: they are described
_COLOURS = {FINE: "32", PROBLEM: "31"}


class Text:
    """Prints a line a file, details of what is wrong or was asked for alone, and a summary.

    Args:
        many: whether several files are looked at, or a folder.
    """

    def __init__(self, many: bool) -> None:
        self._many, self._words = many, Counter[str]()
        self._terminal = is_terminal(sys.stdout)
        self._width = terminal_width() if self._terminal else None

    def add(self, file: str, report: Report) -> None:
        """Print a report."""
        self._words[report.word] += 1
        refused = "error" in report.data
        named = not file or (refused and file in report.headline)
        line = printable(report.headline if named else f"{file}: {report.headline}")
        if refused and not self._many:
            print(_coloured(line, report.status, is_terminal(sys.stderr)), file=sys.stderr)
            return
        say(_coloured(line, report.status, self._terminal and report.word != NO_CHECKPOINT))
        if self._many and report.status == FINE:
            return
        if report.table is not None:
            say(report.table.text(self._width))
        for note in report.notes:
            say(printable(note))

    def end(self, status: int) -> None:
        """Print the summary."""
        if self._many:
            total = self._words.total()
            counts = "; ".join(f"{count:,} {word}" for word, count in self._words.items())
            line = f"{total:,} file{'' if total == 1 else 's'}: {counts}"
            say(_coloured(line, status, self._terminal))


class Json:
    """Prints one JSON document, a line a file.

    Args:
        command: its name.
    """

    def __init__(self, command: str) -> None:
        self._command, self._separator = command, ""

    def add(self, file: str, report: Report) -> None:
        """Print a report."""
        entry = {"file": file, "status": report.status, "verdict": report.word, **report.data}
        if not self._separator:
            self._begin()
        say(self._separator + _dumps(entry), end="")
        self._separator = ",\n"

    def end(self, status: int) -> None:
        """Close the document."""
        if not self._separator:
            self._begin()
        say(f'\n], "status": {status}}}')

    def _begin(self) -> None:
        say(f'{{"schema": {SCHEMA}, "command": "{self._command}", "files": [')


def say(text: str, end: str = "\n") -> None:
    """Print a text; once the reader, `head` for example, has seen enough, to nowhere."""
    try:
        print(text, end=end, flush=True)
    except BrokenPipeError:
        silence()


def silence() -> None:
    """Let what is printed from now on go nowhere, and what Python itself prints at its end."""
    try:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except (OSError, ValueError, AttributeError):
        sys.stdout = None


def is_terminal(stream: TextIO | None) -> bool:
    """Whether a person looks at the stream."""
    return stream is not None and stream.isatty()


def plain(value: Any) -> Any:
    """Return a value as JSON can hold it: what is no number there becomes a string."""
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, float) and not isfinite(value):
        return "NaN" if isnan(value) else "Infinity" if value > 0 else "-Infinity"
    if isinstance(value, int) and abs(value) >= LARGEST:
        return f"<an integer of {value.bit_length():,} bits>"
    return value


def _dumps(entry: dict[str, Any]) -> str:
    import json

    try:
        return json.dumps(entry, allow_nan=False)
    except ValueError:  # a number that is none in JSON, or too long
        return json.dumps(plain(entry), allow_nan=False)


def _coloured(line: str, status: int, terminal: bool) -> str:
    if not terminal or os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb":
        return line
    return f"\x1b[1;{_COLOURS.get(status, '33')}m{line}\x1b[0m"


def terminal_width() -> int:
    """Return the columns of the terminal, 80 where there is none.

    As `shutil.get_terminal_size` finds them, without its import of every kind of archive.
    """
    said = os.environ.get("COLUMNS", "")
    if said.isdecimal() and int(said):
        return int(said)
    try:
        return os.get_terminal_size(sys.__stdout__.fileno() if sys.__stdout__ else 1).columns or 80
    except (ValueError, OSError):  # no terminal
        return 80

"""What a command has to say about a file."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from course_utils.errors import (
    AnotherFormatError,
    DamagedCheckpointError,
    NotACheckpointError,
)
from course_utils.tables import Table

# The exit statuses.
FINE, PROBLEM, IMPOSSIBLE = 0, 1, 2
INTERRUPTED = 130

NO_CHECKPOINT = "not a checkpoint"  # the word for files in a folder that change nothing


class Report(NamedTuple):
    """What a command has to say about one file, or two.

    Attributes:
        status: `FINE`, `PROBLEM` or `IMPOSSIBLE`.
        word: what it comes to, counted in the summary of many files: ``"sound"``.
        headline: one line, to stand after the file's name.
        data: the same for ``--json``.
        table: details.
        notes: lines after the table.
    """

    status: int
    word: str
    headline: str
    data: dict[str, Any]
    table: Table | None = None
    notes: Sequence[str] = ()


def refusal(error: BaseException, status: int) -> Report:
    """Return the report on a file of which nothing can be said but why."""
    kind = type(error).__name__
    data: dict[str, Any] = {"error": {"type": kind, "message": str(error)}}
    if isinstance(error, AnotherFormatError):
        data |= {"kind": error.neighbour.kind, "reader": error.neighbour.reader}
    word = "damaged" if isinstance(error, DamagedCheckpointError) else "not possible"
    word = NO_CHECKPOINT if isinstance(error, NotACheckpointError) else word
    return Report(status, word, str(error), data)


def not_taken(rest: str | None) -> list[str]:
    """Return the lines about what follows the end of a file and is not in the new one."""
    return [f"not taken: {rest}"] if rest else []


def counted(number: int, noun: str) -> str:
    """Return a number with its noun: ``"1 tensor"``, ``"2 tensors"``."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"

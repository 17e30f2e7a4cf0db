"""What can be on the disk after a power cut: all that POSIX allows, not only what is likely.

The system keeps writes in memory and brings them to the disk when it likes, in any order. Two
calls set limits: ``fsync`` of a file for its data, ``fsync`` of a folder for the names in it.

Source: T. S. Pillai et al., "All File Systems Are Not Created Equal", OSDI 2014.
"""

from collections.abc import Iterator, Sequence
from itertools import chain, combinations
from typing import Literal

Step = Literal["write in place", "write temporary", "fsync file", "replace", "fsync folder"]
Outcome = Literal["old", "new", "torn"]

OVERWRITE: list[Step] = ["write in place"]
DURABLE: list[Step] = ["write temporary", "fsync file", "replace", "fsync folder"]


def after_a_crash(steps: Sequence[Step]) -> set[Outcome]:
    """Return what the file can be after a power cut at any moment while the steps run."""
    return {outcome for n in range(len(steps) + 1) for outcome in _outcomes(steps[:n])}


def after_all_steps(steps: Sequence[Step]) -> set[Outcome]:
    """Return what the file can be after a power cut when all steps have been done."""
    return set(_outcomes(steps))


def _outcomes(steps: Sequence[Step]) -> Iterator[Outcome]:
    """Whatever is not flushed may have reached the disk or not, in every combination."""
    for on_disk in _subsets(_not_flushed(steps)):
        yield from _content(steps, set(on_disk))


def _not_flushed(steps: Sequence[Step]) -> list[Step]:
    waiting: list[Step] = []
    for step in steps:
        if step == "fsync file":
            waiting = [other for other in waiting if not other.startswith("write")]
        elif step == "fsync folder":
            waiting = [other for other in waiting if other != "replace"]
        else:
            waiting.append(step)
    return waiting


def _content(steps: Sequence[Step], lucky: set[Step]) -> Iterator[Outcome]:
    """Yield what the file can hold if of the steps not flushed only the lucky reached the disk."""
    unflushed = _not_flushed(steps)

    def on_disk(step: Step) -> bool:
        return step in steps and (step not in unflushed or step in lucky)

    if "write in place" in steps:
        yield "new" if on_disk("write in place") else "old"
        if "write in place" in unflushed:
            yield "torn"
    elif not on_disk("replace"):
        yield "old"
    else:
        yield "new" if on_disk("write temporary") else "torn"


def _subsets(steps: list[Step]) -> Iterator[tuple[Step, ...]]:
    return chain.from_iterable(combinations(steps, n) for n in range(len(steps) + 1))

"""How a student's whole script is started: behind the sandbox's walls, in a folder of its own."""

import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from course_utils.grading.limits import Limits
from course_utils.grading.sandbox.inside import watch
from course_utils.grading.sandbox.jail import can_isolate, command, environment
from course_utils.lessons.capstone_run import Launch, entries

LAUNCHER = (
    "import sys; sys.path.insert(0, {!r}); from inside.script import main; main(*sys.argv[1:])"
)
INSIDE = Path(watch.__file__).parent
LIBRARIES = 16 * 2**30  # bytes of address space that PyTorch takes, most of them never touched
MAX_ENTRIES = 2000  # files and folders that a run may leave


@dataclass(frozen=True)
class Walled:
    """Starts scripts for `lessons.capstone_run`: each start is a sandbox of its own.

    A script sees Python, the package it is given and the folder of its run, and what it writes
    elsewhere is gone. Without bubblewrap there are limits, and a warning says what is missing.

    Attributes:
        limits: of each start.
        isolated: whether there are walls.
    """

    limits: Limits
    isolated: bool

    @classmethod
    def by(cls, limits: Limits) -> "Walled":
        """Return the best that this machine allows."""
        return cls(limits, can_isolate())

    @contextmanager
    def __call__(
        self, script: Path, run: Path, package: Path, file_size: int | None
    ) -> Iterator[Launch]:
        """Give the command line, while the folder that it begins in is there."""
        limits, (script, run) = self.limits, (script.resolve(), run.resolve())
        launcher, given, folder = INSIDE.parent, script, run
        if self.isolated:
            launcher, given, folder = Path("/launcher"), Path("/hand-in"), Path("/run")
        sizes = (
            limits.tmp if self.isolated else 0,
            limits.memory + LIBRARIES,
            min(limits.file, file_size or limits.file),
        )
        with tempfile.TemporaryDirectory() as start:
            arguments = ["-c", LAUNCHER.format(str(launcher)), *map(str, (*sizes, given, folder))]
            yield Launch(
                command(
                    package,
                    arguments,
                    isolated=self.isolated,
                    read={"/launcher/inside": INSIDE, "/hand-in": script},
                    write={"/run": run},
                ),
                Path(start),
                environment(package, isolated=self.isolated),
                lambda process: self._trouble(process, run),
            )

    def _trouble(self, process: int, run: Path) -> str:
        """Look from outside at all that runs, and at what it has written."""
        limits = self.limits
        if _is_full(run, limits.tmp):
            return limits.broken("files")
        if sys.platform != "linux":
            return ""
        tasks = watch.tasks(process)
        if sum(tasks.values()) > limits.processes:
            return limits.broken("processes")
        # What lies in its /tmp and /dev/shm, which have bounds of their own, is not counted.
        taken = watch.memory_of([process, *tasks], 0, limits.memory, ())
        return limits.broken("memory") if taken > limits.memory else ""


def _is_full(folder: Path, most: int) -> bool:
    """Whether more lies in a folder than may; what vanishes meanwhile counts for nothing."""
    size = 0
    for number, entry in enumerate(entries(folder)):
        with suppress(OSError):
            size += entry.stat(follow_symlinks=False).st_blocks * 512
        if size > most or number >= MAX_ENTRIES:
            return True
    return False
